"""PyTorch as a runtime: eager, compiled, and from a saved program."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vitesse.data import Preprocess
from vitesse.deploy import Metadata, TorchRuntime
from vitesse.deploy.runtime import missing
from vitesse.deploy.torch_runtime import CompiledRuntime, ProgramRuntime
from vitesse.errors import VitesseError
from vitesse.nets import Network

IMAGES = np.random.default_rng(0).random((4, 3, 8, 8), dtype=np.float32)


def test_a_bound_call_computes_the_same(network: Network) -> None:
    runtime = TorchRuntime(network)
    np.testing.assert_array_equal(runtime.bind(IMAGES)(), runtime.run(IMAGES))
    with torch.no_grad():
        np.testing.assert_array_equal(runtime.run(IMAGES), network(torch.from_numpy(IMAGES)))


def test_evaluation_mode_without_touching_the_module() -> None:
    module = nn.Sequential(nn.Dropout(0.5), nn.Flatten(), nn.Linear(192, 3)).train()
    runtime = TorchRuntime(module)
    np.testing.assert_array_equal(runtime.run(IMAGES), runtime.run(IMAGES))
    assert module.training and module[0].training


def test_half_the_bits_are_close_and_leave_the_module(network: Network) -> None:
    full, half = TorchRuntime(network).run(IMAGES), TorchRuntime(network, precision="bf16").run(IMAGES)
    assert half.dtype == np.float32
    assert 0 < np.abs(full - half).max() < 0.05 * np.abs(full).max()
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


class Threads(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.full((len(images), 1), float(torch.get_num_threads()))


def test_threads_hold_while_it_computes_only() -> None:
    assert torch.get_num_threads() == 1
    call = TorchRuntime(Threads(), threads=2).bind(IMAGES)
    assert torch.get_num_threads() == 1
    assert call().unique() == 2 and torch.get_num_threads() == 1  # type: ignore[attr-defined]


@pytest.mark.skipif(missing("compile") is not None, reason=str(missing("compile")))
def test_compiled_once_for_each_shape(linear: nn.Module) -> None:
    runtime = CompiledRuntime(linear)
    for images in (IMAGES, IMAGES[:1], IMAGES):
        np.testing.assert_allclose(runtime.run(images), TorchRuntime(linear).run(images), atol=1e-5)
    assert list(runtime._compiled) == [(4, 3, 8, 8), (1, 3, 8, 8)]


class Guess(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        rows = images.mean((2, 3))
        return rows if float(rows.sum()) > 0 else -rows


@pytest.mark.skipif(missing("compile") is not None, reason=str(missing("compile")))
def test_what_is_no_graph_is_not_compiled() -> None:
    with pytest.raises(VitesseError, match="cannot be compiled: "):
        CompiledRuntime(Guess()).run(IMAGES)


@pytest.fixture(scope="module")
def program(linear: nn.Module, preprocess: Preprocess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "model.pt2"
    example = torch.rand(2, 3, 8, 8)
    about = Metadata(preprocess=preprocess, classes=("a", "b", "zwölf"), arch_json=None, version="1")
    program = torch.export.export(linear, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, path, extra_files=about.to_props())
    return path


def test_a_program_runs_and_describes_itself(program: Path, linear: nn.Module, preprocess: Preprocess) -> None:
    runtime = ProgramRuntime(program)
    assert runtime.shape == (None, 3, 8, 8)
    assert runtime.metadata is not None
    assert (runtime.metadata.preprocess, runtime.metadata.classes[2]) == (preprocess, "zwölf")
    for batch in (1, 3, 4):
        np.testing.assert_allclose(
            runtime.run(IMAGES[:batch]), TorchRuntime(linear).run(IMAGES[:batch]), rtol=1e-5, atol=1e-6
        )
    with pytest.raises(VitesseError, match="Divide pixels by 255"):
        runtime.run(IMAGES * 255)
    with pytest.raises(VitesseError, match=r"float32 \(B, 3, 8, 8\)"):
        runtime.run(IMAGES[:, :1])


def test_a_program_that_was_cut_off_or_is_missing(program: Path, tmp_path: Path) -> None:
    content = program.read_bytes()
    (tmp_path / "cut.pt2").write_bytes(content[: len(content) // 2])
    with pytest.raises(VitesseError, match=r"cut\.pt2 cannot be read"):
        ProgramRuntime(tmp_path / "cut.pt2")
    with pytest.raises(VitesseError, match="does not exist"):
        ProgramRuntime(tmp_path / "no.pt2")


class Trap:
    def __reduce__(self) -> tuple:
        return (Path("sprung").touch, ())


@pytest.mark.parametrize("where", ["sample_inputs/model.pt", "constants/model_constants_config.json"])
def test_a_program_that_would_run_code_is_not_loaded(
    where: str, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(program) as good, zipfile.ZipFile("bad.pt2", "w") as bad:
        assert any(name.endswith(where) for name in good.namelist())
        for name in good.namelist():
            with bad.open(name, "w") as file:
                if not name.endswith(where):
                    file.write(good.read(name))
                elif where.endswith(".pt"):
                    torch.save(Trap(), file)
                else:
                    file.write(b'{"config": {"x": {"path_name": "opaque_obj_0", "use_pickle": true}}}')
    with pytest.raises(VitesseError, match="may run any code"):
        ProgramRuntime("bad.pt2")
    assert not Path("sprung").exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_bound_call_waits_for_the_accelerator() -> None:
    module = (
        nn.Sequential(nn.Flatten(), nn.Linear(192, 4096), *(nn.Linear(4096, 4096) for _ in range(20))).cuda().eval()
    )
    call = TorchRuntime(module).bind(np.tile(IMAGES, (256, 1, 1, 1)))
    call()
    assert torch.cuda.current_stream().query()
