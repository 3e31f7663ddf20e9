import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { Failure, needsToken, post } from "../api";
import { refreshAll } from "../live";

/** Hand the token over and forget it: what stays is a cookie that scripts cannot read. */
export async function login(token: string): Promise<void> {
  await post("login", { token });
  needsToken.value = false;
  refreshAll();
}

export function Login(): JSX.Element {
  const [problem, setProblem] = useState<string | null>(null);
  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const token = String(new FormData(event.currentTarget as HTMLFormElement).get("token") ?? "").trim();
    try {
      await login(token);
    } catch (error) {
      setProblem(error instanceof Failure && error.status === 401 ? "That is not this page's token." : String((error as Error).message));
    }
  };
  return (
    <main class="main login">
      <form class="card stack" onSubmit={(event) => void submit(event as unknown as SubmitEvent)}>
        <h1>This page asks for its token</h1>
        <p class="soft">
          The log of the run and the terminal that started the page print an address that ends in #token=…. Open that
          address, or paste the token here.
        </p>
        <input class="field mono" name="token" type="password" autocomplete="off" aria-label="Token" required />
        {problem && (
          <p class="worse" role="alert">
            {problem}
          </p>
        )}
        <button type="submit" class="btn">
          Open the page
        </button>
      </form>
    </main>
  );
}
