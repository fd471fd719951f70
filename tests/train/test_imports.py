"""What a run imports, and what it does without: `studio/system/lean.py`, and whether each part is still needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
# A module as its package has it; a stand-in for one does not count. `kernels` fetches code from the Hub.
AUDIT = '''
import atexit, json, os, sys
def audit():
    names = [name for name, module in sys.modules.items() if getattr(module, "__file__", None)]
    told = f"{os.path.basename(sys.argv[0])}-{os.getpid()}.json"
    with open(os.path.join(os.path.dirname(__file__), told), "w") as file:
        json.dump(names, file)
atexit.register(audit)
'''
KERNELS = '''
import pathlib
(pathlib.Path(__file__).parent.parent / "fetched").touch()
def get_kernel(*_, **__): raise RuntimeError("the network is asked")
'''
NEVER = {"bitsandbytes", "torch._dynamo.convert_frame", "torch._inductor", "torch._functorch.aot_autograd", "scipy",
         "pandas", "datasets", "deepspeed", "kernels", "wandb", "tensorboard", "trackio"}
SHORT = {"data": {"resolution": 32}, "train": {"max_steps": 2, "batch_size": 2},
         "sample": {"prompts": ["a red apple"], "every_steps": 0, "num_inference_steps": 1}}


@pytest.fixture
def spied(tmp_path: Path, home: Path) -> dict[str, str]:
    """An environment in which each program writes down what it has imported when it ends, and has `kernels`."""
    (tmp_path / "spy" / "kernels").mkdir(parents=True)
    (tmp_path / "spy" / "sitecustomize.py").write_text(AUDIT)
    (tmp_path / "spy" / "kernels" / "__init__.py").write_text(KERNELS)
    info = tmp_path / "spy" / "kernels-0.0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kernels\nVersion: 0.0.1\n")
    return {**os.environ, "PYTHONPATH": f"{tmp_path / 'spy'}{os.pathsep}{ROOT}", "HF_HUB_OFFLINE": "1"}


def trained(home: Path, environment: dict[str, str], changes: dict[str, Any]) -> tuple[set[str], list[str]]:
    """Train a short run from a shell; what its trainer had imported at the end, and the lines that it logged."""
    spy, file = home.parent / "spy", home.parent / "config.json"
    file.write_text(json.dumps({**SHORT, **changes}))
    before = set(spy.glob("loop.py-*.json")), set((home / "runs").glob("*"))
    done = subprocess.run([sys.executable, "-m", "studio.train", "--config", str(file)], env=environment, cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (told,), (run,) = set(spy.glob("loop.py-*.json")) - before[0], set((home / "runs").glob("*")) - before[1]
    log = [line for line in (run / "train.log").read_text().splitlines() if not line.startswith("--- attempt ")]
    return set(json.loads(told.read_text())), log


def test_a_full_fine_tune_imports_what_it_needs_when_it_needs_it(home: Path, spied: dict[str, str]) -> None:
    cold, log = trained(home, spied, {})
    assert not cold & {*NEVER, "peft"}
    assert {"diffusers.pipelines.pipeline_utils", "transformers.modeling_utils"} <= cold  # it drew, and encoded texts
    assert log == []
    warm, log = trained(home, spied, {"sample": {"prompts": []}})
    assert not warm & {*NEVER, "peft", "torchvision", "transformers.modeling_utils",
                       "diffusers.pipelines.pipeline_utils"}
    assert log == []
    assert not (home.parent / "spy" / "fetched").exists()


def test_a_lora_run_imports_peft_and_nothing_that_peft_could_work_with(home: Path, spied: dict[str, str]) -> None:
    imported, log = trained(home, spied, {"model": {"method": "lora"}})
    assert not imported & NEVER
    assert "peft" in imported
    assert log == []


def test_eight_bits_need_their_package_which_fetches_nothing(home: Path, spied: dict[str, str]) -> None:
    pytest.importorskip("bitsandbytes")
    imported, log = trained(home, spied, {"optim": {"name": "adamw8bit"}, "sample": {"prompts": []}})
    assert {"bitsandbytes", "torch._dynamo.convert_frame"} <= imported
    assert "peft" not in imported
    assert log == []
    assert not (home.parent / "spy" / "fetched").exists()


def python(code: str) -> str:
    """What a program of its own prints."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_what_is_kept_away_would_come_by_itself() -> None:
    """Where this fails a part of `studio/system/lean.py` has become needless: take it out."""
    by_diffusers = set(python("import sys; from diffusers import UNet2DConditionModel; print(*sys.modules)").split())
    assert {"peft", "bitsandbytes", "torch._inductor", "torchvision", "transformers.modeling_utils"} <= by_diffusers
    by_optimizer = python("import sys, torch; torch.optim.AdamW([torch.zeros(1, requires_grad=True)]); "
                          "print(*sys.modules)").split()
    assert "torch._dynamo.convert_frame" in by_optimizer
    for part, name in (("torch.use_deterministic_algorithms(False)", "torch._inductor"),
                       ("import torchvision", "torch._dynamo.convert_frame"),
                       ("import transformers.masking_utils", "torch._dynamo.convert_frame")):
        assert name in python(f"import sys, torch; {part}; print(*sys.modules)").split(), part


def test_what_diffusers_names_of_transformers_is_loaded_when_it_is_asked() -> None:
    printed = python("""
import sys
from studio.system import lean
for name in ("UNet2DConditionModel", "AutoencoderKL"):
    lean.diffusers_model(name)
import transformers
from diffusers.loaders import lora_base, single_file_utils
from diffusers.models.autoencoders import autoencoder_rae
print("transformers.modeling_utils" in sys.modules)
modules = (lora_base, single_file_utils, autoencoder_rae)
print(all(any(hasattr(module, name) for module in modules) for name in lean.NAMED))
print(isinstance(3, lora_base.PreTrainedModel), "transformers.modeling_utils" in sys.modules)
model = transformers.CLIPTextModel(transformers.CLIPTextConfig(num_hidden_layers=1))
print(isinstance(model, lora_base.PreTrainedModel))
print(autoencoder_rae.SiglipVisionConfig(image_size=32).image_size)
""")
    assert printed.split() == ["False", "True", "False", "True", "True", "32"]


@pytest.mark.parametrize("wants", [
    "torch.compile(lambda x: x + 1, backend='eager')(torch.zeros(1))",
    "import torch._dynamo.config as c; assert c.cache_size_limit",
    "from torch._dynamo.utils import counters; counters.clear()",
    "from torch._dynamo._trace_wrapped_higher_order_op import mod_index; torch._dynamo.explain",
])
def test_whoever_wants_more_of_the_compiler_gets_all_of_it(wants: str) -> None:
    printed = python(f"""
import sys, torch
from studio.system import lean
lean.stand_in_for_compiler()
optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], fused=True)
optimizer.step(), optimizer.zero_grad()
assert not hasattr(torch._dynamo, "__file__") and "torch._inductor" not in sys.modules
{wants}
import torch._dynamo as real
assert real is sys.modules["torch._dynamo"] is torch._dynamo and "torch._dynamo.convert_frame" in sys.modules
assert real.utils is sys.modules["torch._dynamo.utils"] and real.utils.__spec__.name == "torch._dynamo.utils"
assert isinstance(torch.compile(torch.nn.Linear(1, 1)), real.eval_frame.OptimizedModule)
optimizer.step(), optimizer.zero_grad()
print("whole")
""")
    assert printed == "whole\n"
