"""The same store without Lightning: gradient descent on a parabola, logged by hand and judged.

python examples/by_hand.py
"""

import fitgate


def main() -> None:
    position = 4.0
    with fitgate.start_run("runs", name="by-hand", hparams={"lr": 0.1}) as run:
        for step in range(50):
            loss = position**2
            run.log_metrics({"loss": loss, "position": position}, step=step)
            position -= 0.1 * 2 * position

    stored = fitgate.Store("runs").run("by-hand")
    values = stored.metrics(["loss"])["value"].to_pylist()
    print(f"{stored.id}: {len(values)} points, loss from {values[0]:.3g} to {values[-1]:.3g}")

    decision = fitgate.evaluate(["loss <= 1e-6"], {"loss": loss})
    print(decision.verdict, *decision.reasons)


if __name__ == "__main__":
    main()
