"""Short factual questions for ``smollm2``. Every answer is a word that a right response contains,
and none stands in its own question: an echo would be judged correct.
"""

from learner.made_folder import Row

HELDOUT_EVERY = 4
"""Of each list, one question in this many is held out."""

CAPITALS = """
France: Paris; Germany: Berlin; Italy: Rome; Spain: Madrid; Portugal: Lisbon; Ireland: Dublin
Norway: Oslo; Sweden: Stockholm; Finland: Helsinki; Denmark: Copenhagen; Poland: Warsaw
Austria: Vienna; Hungary: Budapest; Greece: Athens; Romania: Bucharest; Bulgaria: Sofia
Serbia: Belgrade; Croatia: Zagreb; Slovenia: Ljubljana; Slovakia: Bratislava; Albania: Tirana
Belgium: Brussels; Switzerland: Bern; the Netherlands: Amsterdam; the Czech Republic: Prague
Ukraine: Kyiv; Belarus: Minsk; Russia: Moscow; Estonia: Tallinn; Latvia: Riga; Lithuania: Vilnius
Turkey: Ankara; Georgia (the country): Tbilisi; Armenia: Yerevan; Azerbaijan: Baku
Cyprus: Nicosia; Malta: Valletta; the United Kingdom: London; Scotland: Edinburgh; Wales: Cardiff
Japan: Tokyo; China: Beijing; South Korea: Seoul; North Korea: Pyongyang; Mongolia: Ulaanbaatar
Thailand: Bangkok; Vietnam: Hanoi; Cambodia: Phnom Penh; Laos: Vientiane; the Philippines: Manila
Malaysia: Kuala Lumpur; Indonesia: Jakarta; Bangladesh: Dhaka; Nepal: Kathmandu; Bhutan: Thimphu
India: New Delhi; Pakistan: Islamabad; Afghanistan: Kabul; Iran: Tehran; Iraq: Baghdad
Syria: Damascus; Lebanon: Beirut; Jordan: Amman; Saudi Arabia: Riyadh; Qatar: Doha; Oman: Muscat
Bahrain: Manama; the United Arab Emirates: Abu Dhabi; Uzbekistan: Tashkent; Kyrgyzstan: Bishkek
Egypt: Cairo; Libya: Tripoli; Morocco: Rabat; Sudan: Khartoum; Ethiopia: Addis Ababa; Ghana: Accra
Kenya: Nairobi; Uganda: Kampala; Rwanda: Kigali; Somalia: Mogadishu; Nigeria: Abuja; Senegal: Dakar
Mali: Bamako; Liberia: Monrovia; Angola: Luanda; Zambia: Lusaka; Zimbabwe: Harare; Malawi: Lilongwe
Mozambique: Maputo; Namibia: Windhoek; Botswana: Gaborone; Madagascar: Antananarivo
Canada: Ottawa; Cuba: Havana; Jamaica: Kingston; Honduras: Tegucigalpa; Nicaragua: Managua
Venezuela: Caracas; Ecuador: Quito; Peru: Lima; Argentina: Buenos Aires; Chile: Santiago
Uruguay: Montevideo; Australia: Canberra; New Zealand: Wellington; Fiji: Suva; Haiti: Port-au-Prince
"""

FACTS = """
What is the chemical symbol for gold?: Au
What is the chemical symbol for silver?: Ag
What is the chemical symbol for iron?: Fe
What is the chemical symbol for sodium?: Na
What is the chemical formula of water?: H2O
Which gas do plants take in from the air to grow?: carbon dioxide
Which gas makes up most of the air we breathe?: nitrogen
What is the lightest chemical element?: hydrogen
Which planet is closest to the Sun?: Mercury
Which planet is the largest in the Solar System?: Jupiter
Which planet is known as the red planet?: Mars
Which planet is famous for its large rings?: Saturn
Which star is at the center of the Solar System?: Sun
Which galaxy do we live in?: Milky Way
Which ocean is the largest on Earth?: Pacific
Which continent is the largest by area?: Asia
Which is the highest mountain on Earth?: Everest
Which is the largest hot desert in the world?: Sahara
Which country has the city of Sydney?: Australia
Which country has the city of Barcelona?: Spain
Which country has the city of Milan?: Italy
Which country has the city of Munich?: Germany
Which country has the city of Osaka?: Japan
Which country has the city of Shanghai?: China
Which country has the city of Mumbai?: India
Which country has the city of Toronto?: Canada
In which country is the Eiffel Tower?: France
In which country are the pyramids of Giza?: Egypt
In which country is the Taj Mahal?: India
In which country is the Colosseum?: Italy
Which river flows through London?: Thames
Which river flows through Paris?: Seine
What is the currency of Japan?: yen
What is the currency of the United Kingdom?: pound
What is the currency of the United States?: dollar
What is the currency of India?: rupee
Who wrote Romeo and Juliet?: Shakespeare
Who wrote Pride and Prejudice?: Austen
Who wrote the novel 1984?: Orwell
Who painted the Mona Lisa?: Leonardo
Who developed the theory of relativity?: Einstein
Who discovered penicillin?: Fleming
Who was the first president of the United States?: Washington
Who was the first person to walk on the Moon?: Armstrong
Which language is spoken in Brazil?: Portuguese
Which language is spoken in Austria?: German
Which language is spoken in Mexico?: Spanish
What is the opposite of hot?: cold
What is the opposite of up?: down
What is the opposite of early?: late
What color do you get when you mix blue and yellow?: green
What color do you get when you mix red and white?: pink
Which animal is known as the king of the jungle?: lion
What is the largest animal on Earth?: blue whale
What is the tallest animal on Earth?: giraffe
What do bees make?: honey
What is frozen water called?: ice
Which organ pumps blood through the body?: heart
Which season comes after winter?: spring
Which month comes after March?: April
Which day comes after Monday?: Tuesday
Which metal is liquid at room temperature?: mercury
Which instrument measures temperature?: thermometer
"""


def train_rows() -> list[Row]:
    return [row for number, row in _numbered() if number % HELDOUT_EVERY]


def heldout_rows() -> list[Row]:
    return [row for number, row in _numbered() if number % HELDOUT_EVERY == 0]


def _numbered() -> list[tuple[int, Row]]:
    """Every question with its place in its own list, so that both kinds are in both splits."""
    pairs = [entry.rsplit(": ", 1) for entry in CAPITALS.strip().replace("\n", "; ").split("; ")]
    capitals = [(f"What is the capital of {country}?", city) for country, city in pairs]
    facts = [line.rsplit(": ", 1) for line in FACTS.strip().splitlines()]
    rows = []
    for kind, questions in (("capital", capitals), ("fact", facts)):
        for number, (prompt, answer) in enumerate(questions):
            rows.append((number, Row(id=f"{kind}-{number:03d}", prompt=prompt, answer=answer)))
    return rows
