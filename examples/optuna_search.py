"""A search by Optuna that maximises how far each trial is from turning its gate's decision; each trial is a run.

    python examples/optuna_search.py

`fitgate.margin(decision)` is the least relative margin of the checks: above 0 is a deploy, and the larger the safer. Needs
Optuna, and scikit-learn for the data: pip install optuna ".[demo]".
"""

import optuna
import pytorch_lightning as pl
import torch
from digits import DigitsNet, digits_splits
from torch.utils.data import DataLoader

import fitgate
from fitgate.callbacks import GateCallback, MetricsCallback


def objective(trial: optuna.Trial) -> float:
    """Fit one net, and give the margin of its decision."""
    pl.seed_everything(trial.number, verbose=False)
    train, val = digits_splits()
    gate = GateCallback(["val_acc >= 0.95", "val_loss <= 0.2"], dirpath="deploy", model_name="digits", formats=["safetensors"])
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=6,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[MetricsCallback("runs", run_name=f"trial-{trial.number}"), gate],
    )
    module = DigitsNet(width=trial.suggest_int("width", 4, 32, log=True), lr=trial.suggest_float("lr", 1e-4, 3e-2, log=True))
    trainer.fit(module, DataLoader(train, batch_size=64, shuffle=True), DataLoader(val, batch_size=len(val)))
    assert gate.decision is not None
    return fitgate.margin(gate.decision)


if __name__ == "__main__":
    torch.set_num_threads(1)  # a net this small is slower on several threads that wait for each other
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(objective, n_trials=4)
    print(f"best: trial {study.best_trial.number}, margin {study.best_value:+.1%}, {study.best_params}")
