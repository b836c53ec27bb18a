"""What a metric's name says: what it measures, on which data, and which way is better.

Lightning fixes no names, so `val_loss`, `valid/loss` and a `loss` logged in the validation stage are
all the validation loss; its partner is `loss`, `train_loss` or `train/loss` of the training stage.
"""

from __future__ import annotations

import re

__all__ = [
    "ACCURACY",
    "LOSS",
    "better_high_by_name",
    "is_learning_rate",
    "is_loss_like",
    "loader_of",
    "on_validation_data",
    "quantity_of",
    "split_name",
]

LOSS = "loss"
ACCURACY = "acc"

_TRAIN_WORDS = frozenset({"train", "training", "trn", "tr"})
_VALIDATION_WORDS = frozenset({"val", "valid", "validation", "eval", "evaluation", "dev", "test", "holdout"})
_SAME = {"accuracy": ACCURACY, "losses": LOSS}
_LOADER = re.compile(r"/dataloader_idx_(\d+)$")
_FORK = re.compile(r"_(step|epoch)(?=$|/dataloader_idx_)")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_LEARNING_RATE = re.compile(r"(?:lr-.+|(?:.*[/_.-])?(?:lr|learning_rate)(?:_step|_epoch)?)", re.IGNORECASE)


def split_name(name: str) -> tuple[str, str | None]:
    """A metric's name without Lightning's fork, and the fork: `"step"`, `"epoch"` or None.

    Example:
        >>> split_name("val_loss_epoch")
        ('val_loss', 'epoch')
        >>> split_name("loss")
        ('loss', None)
    """
    match = _FORK.search(name)
    return (_FORK.sub("", name), match[1]) if match else (name, None)


def quantity_of(name: str) -> str:
    """What the metric measures, whichever data it was measured on.

    Example:
        >>> quantity_of("val_loss"), quantity_of("train/loss_step"), quantity_of("loss")
        ('loss', 'loss', 'loss')
        >>> quantity_of("val_acc"), quantity_of("trainAccuracy"), quantity_of("val_acc/dataloader_idx_1")
        ('acc', 'acc', 'acc')
    """
    words = _words(_LOADER.sub("", split_name(name)[0]))
    kept = [_SAME.get(w, w) for w in words if w not in _TRAIN_WORDS | _VALIDATION_WORDS]
    return " ".join(kept) or name


def loader_of(name: str) -> int | None:
    """Which of several dataloaders a metric was measured on; None where the name doesn't say.

    Example:
        >>> loader_of("val_acc/dataloader_idx_1"), loader_of("val_acc")
        (1, None)
    """
    match = _LOADER.search(name)
    return int(match[1]) if match else None


def on_validation_data(name: str, stage: str) -> bool:
    """Whether the metric was measured on data that the model does not train on.

    By hand everything is of the stage `train`: there the name alone tells.

    Example:
        >>> on_validation_data("acc", "validate"), on_validation_data("val_acc", "train"), on_validation_data("acc", "train")
        (True, True, False)
    """
    return stage != "train" or bool(_VALIDATION_WORDS.intersection(_words(name)))


def better_high_by_name(name: str) -> bool:
    """Names with "loss" or "error" are better low, all others high.

    Example:
        >>> better_high_by_name("val_loss"), better_high_by_name("f1")
        (False, True)
    """
    return not any(word in name.lower() for word in ("loss", "error"))


def is_loss_like(name: str) -> bool:
    """Whether the name is of a loss or one of its terms.

    Example:
        >>> is_loss_like("train_loss_kl"), is_loss_like("glossary_size")
        (True, False)
    """
    return LOSS in map(_same, _words(name))


def is_learning_rate(name: str) -> bool:
    """Whether the name is of a learning rate, such as LearningRateMonitor's `lr-SGD`.

    Example:
        >>> is_learning_rate("lr-Adam/pg1"), is_learning_rate("clr_loss")
        (True, False)
    """
    return _LEARNING_RATE.fullmatch(name) is not None and not name.endswith("-momentum")


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]


def _same(word: str) -> str:
    return _SAME.get(word, word)
