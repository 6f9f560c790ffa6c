"""The curves of a training: lines in `metrics.jsonl` and TensorBoard events, each step there once."""

from __future__ import annotations

from torch.utils.tensorboard import SummaryWriter

from vitesse.runs.folder import RunFolder


class Curves:
    """Where one stage writes what it measures."""

    def __init__(self, folder: RunFolder, stage: str) -> None:
        self.folder, self.stage = folder, stage
        self.writer: SummaryWriter | None = None

    def rewind(self, step: int) -> None:
        """Training goes on after `step`: what was written of later steps is dropped."""
        self.folder.truncate_after(self.stage, step)
        self.writer = SummaryWriter(str(self.folder.path / "tensorboard" / self.stage), purge_step=step + 1)

    def log(self, record: dict[str, float]) -> None:
        """One record: step, epoch, loss, lr and, where it was looked at, accuracy."""
        self.folder.append({"stage": self.stage, **record})
        if self.writer is not None:
            for name, value in record.items():
                if name not in ("step", "epoch"):
                    self.writer.add_scalar(name, value, int(record["step"]))

    def close(self) -> None:
        """Write out what is still in memory."""
        if self.writer is not None:
            self.writer.close()
