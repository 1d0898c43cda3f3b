"""How many samples `assert_robust` takes, and how often it errs: exact, no clock. `python benchmarks/assertions.py`.

The tables of docs/pytest.md. Every path of successes and failures is summed up (Sequential.chances).
"""

from __future__ import annotations

import numpy as np

from ironbound.asserting.sequential import Sequential

MOST = 6000
TRUTHS = {
    0.45: (0.90, 0.80, 0.65, 0.55, 0.50, 0.45, 0.40, 0.35, 0.25, 0.10),
    0.90: (1.00, 0.99, 0.97, 0.95, 0.93, 0.90, 0.87, 0.85, 0.80, 0.70),
}


def quantile(decided: np.ndarray, share: float) -> str:
    return f"{int(np.argmax(decided >= share)) + 1:,}" if decided[-1] >= share else f"over {MOST:,}"


def main() -> None:
    for threshold, truths in TRUTHS.items():
        test = Sequential.at(threshold, 0.95)
        print(f"| truth, asked for {threshold:g} | half of all cases take at most | 9 of 10 | pass | fail |")
        print("|---:|---:|---:|---:|---:|")
        for truth in truths:
            passed, failed = test.chances(truth, MOST)
            both = passed + failed
            shares = " | ".join(f"{100 * side[-1]:.2f}%" for side in (passed, failed))
            print(f"| {truth:.2f} | {quantile(both, 0.5)} | {quantile(both, 0.9)} | {shares} |")
        print()


if __name__ == "__main__":
    main()
