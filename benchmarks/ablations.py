"""The paper's ablations in miniature, on the made model, each arm one run per seed.

    python -m benchmarks.ablations --seeds 3 [--only REGEX] [--steps 25] [--out runs/ablations]

Off-policy against on-policy data; the sampling temperature; rollouts per problem; L; lag; the
normaliser; with and without the finish check. All arms but the named change are `on-policy`: 32
problems x 8, L = 120, lag 1, T = 1. The same table, JSON and plot as `benchmarks.methods`.
"""

import sys

from benchmarks.arms import Arm, experiment, parser
from benchmarks.methods import CAP, ROLLOUTS, L, make

PARTS = "benchmarks.ablation_parts"
OFF_POLICY = ("data.train={base_samples}", "data.responses=instead")


def ablations() -> list[Arm]:
    return [
        Arm(name="base", kind="evaluate", says="the made model as it is"),
        _arm("on-policy", "the setting that the others change"),
        Arm(name="off-policy data", kind="train", says="accepted samples of the base, once",
            settings=(*OFF_POLICY, f"filter.length_budget={L}")),
        *(
            _arm(f"T={value}", "from the second step on",
                 f"learner.objective={PARTS}:SFT_ANY_TEMPERATURE",
                 f"sampling.policy.use={PARTS}:CONSTANT",
                 f"sampling.policy.settings.value={value}")
            for value in (0.6, 1.2)
        ),
        *(
            _arm(f"n={size}", f"{ROLLOUTS // size} problems x {size}",
                 f"sampling.group_size={size}", f"batch.problems={ROLLOUTS // size}")
            for size in (2, 16)
        ),
        *(
            _arm(f"L={budget}", "the budget", f"filter.length_budget={budget}")
            for budget in (95, 160, CAP)
        ),
        *(
            _arm(f"lag {lag}", "exact" if lag == 0 else "steps that data may be old",
                 f"max_lag={lag}")
            for lag in (0, 4)
        ),
        *(
            _arm(f"normaliser {name}", "what the sum is divided by", f"learner.normalizer={name}")
            for name in ("batch_max_len", "constant", "sequence_mean")
        ),
        _arm("no finish check", "cut off behind the right answer counts",
             f"learner.objective={PARTS}:SFT_BY_REWARD",
             f"filter.reward.use={PARTS}:RIGHT_UNFINISHED_TOO",
             f"filter.token_weights={PARTS}:right_alone"),
    ]  # fmt: skip


def _arm(name: str, says: str, *changes: str) -> Arm:
    budget = () if any(c.startswith("filter.length_budget") for c in changes) else (
        f"filter.length_budget={L}",
    )  # fmt: skip
    return Arm(name=name, kind="train", says=says, settings=(*budget, *changes))


if __name__ == "__main__":
    options = parser(str(__doc__), "runs/ablations").parse_args()
    sys.exit(1 if experiment("ablations", ablations(), options, make) else 0)
