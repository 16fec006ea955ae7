"""The package does what the program does: the same digests, folders and texts; arrays by the buffer protocol; logits that
Hugging Face's class computes from the checkpoint (where transformers is). Run from the repository's root: make python-test."""

import os
import array
import math
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

try:
    import numpy
except ImportError:
    print("python: there is no numpy here: not tested")
    sys.exit(0)

import switchyard as sy

ROOT = pathlib.Path(__file__).resolve().parents[2]
OPTIONS = {
    "training.dataset_path": [str(ROOT / "tests/data/prose.jsonl")],
    "training.seq_len": 32,
    "training.steps": 4,
    "lr_scheduler.warmup_steps": 0,
    "checkpoint.interval": 100,
    "numerics.class": "fp32",
    "run.threads": 2,
}


class Case(unittest.TestCase):
    def setUp(self):
        self.room = tempfile.TemporaryDirectory()
        self.addCleanup(self.room.cleanup)

    def config(self, name, flavor="micro_mla", **more):
        return sy.Config({"model.flavor": flavor, **OPTIONS, "run.dir": f"{self.room.name}/{name}", **more})

    def test_steps_are_those_of_the_program(self):
        options = [f"--{k}={v[0] if isinstance(v, list) else v}" for k, v in OPTIONS.items()]
        said = subprocess.run(
            [ROOT / os.environ.get("BIN", "build/switchyard"), "train", ROOT / "configs/micro_mla.toml", f"--run.dir={self.room.name}/theirs", *options],
            capture_output=True, text=True, check=True).stdout
        theirs = re.search(r"^digest of step 4: (\w+)$", said, re.M).group(1)
        config = sy.Config({**OPTIONS, "run.dir": f"{self.room.name}/ours"}, file=ROOT / "configs/micro_mla.toml")
        lines = []
        with sy.Run(config, log=lambda line, warning: lines.append(line)) as run:
            results = list(run)
            held_out = run.eval()
            run.save()
        self.assertEqual([r.step for r in results], [1, 2, 3, 4])
        self.assertEqual(results[-1].weights_digest, theirs)
        self.assertTrue(all(r.applied and math.isfinite(r.loss) for r in results) and 0 < held_out < 10)
        self.assertTrue(any("parameters" in line for line in lines))
        with sy.Run(config) as run:
            self.assertEqual(run.about["step"], 4)
            with self.assertRaisesRegex(sy.Error, "training.steps = 4"):
                run.step()

    def test_arrays(self):
        with sy.Run(self.config("arrays")) as run:
            ids = [72, 101, 108, 108, 111]
            logits = run.logits(ids)
            self.assertEqual((logits.shape, logits.dtype), ((5, 272), numpy.float32))
            for same in (numpy.array(ids, numpy.int32), numpy.array(ids), array.array("i", ids), memoryview(array.array("i", ids))):
                self.assertTrue((run.logits(same) == logits).all())
            name = "model.embed_tokens.weight"
            self.assertEqual(run.tensors[name], (272, 32))
            weights, digest = run.weights(name), run.about["weights_digest"]
            run.set_weights(name, weights)
            self.assertEqual(run.about["weights_digest"], digest)
            run.set_weights(name, weights * 2)
            self.assertTrue((run.weights(name) == weights * 2).all())
            self.assertNotEqual(run.about["weights_digest"], digest)
            for wrong, error in ((lambda: run.logits([272]), sy.Error), (lambda: run.logits([]), sy.Error),
                                 (lambda: run.logits(numpy.ones(3)), TypeError), (lambda: run.weights("none"), KeyError),
                                 (lambda: run.logits(numpy.array([1 << 40])), ValueError),
                                 (lambda: run.set_weights(name, weights[:3]), sy.Error),
                                 (lambda: run.set_weights(name, weights.astype(numpy.float64)), TypeError)):
                with self.assertRaises(error):
                    wrong()
        with self.assertRaisesRegex(ValueError, "closed"):
            run.step()

    def test_options(self):
        config = sy.Config({"model.dim": 64, "checkpoint.enable": False, "optimizer.groups": ["*norm*: weight_decay=0"]})
        self.assertEqual((config["model.dim"], config["checkpoint.enable"]), ("64", "false"))
        self.assertEqual(config["optimizer.groups"], '["*norm*: weight_decay=0"]')
        with self.assertRaisesRegex(sy.Error, "did you mean model.dim") as caught:
            config["model.dimm"] = 3
        self.assertEqual(caught.exception.exit_code, 2)

    def test_generate(self):
        with sy.Run(self.config("texts")) as run:
            run.step()
            run.save()
        texts = sy.generate(f"{self.room.name}/texts", ["a", "b"], samples=2, max_tokens=5)
        self.assertEqual([(t["prompt"], t["sample"]) for t in texts], [("a", 0), ("a", 1), ("b", 0), ("b", 1)])
        self.assertEqual(texts[0], sy.generate(f"{self.room.name}/texts", "a", max_tokens=5)[0])
        for together in (1, 3):
            more = sy.generate(f"{self.room.name}/texts", ["a", "b"], samples=2, max_tokens=5, together=together)
            self.assertEqual(more, texts)
        with self.assertRaisesRegex(sy.Error, "--together 1025: must be in 1..1024"):
            sy.generate(f"{self.room.name}/texts", "a", together=1025)

    def test_logits_are_those_of_transformers(self):
        try:
            import torch
            from transformers import AutoModelForCausalLM
        except ImportError:
            self.skipTest("there is no transformers here")
        qwen3 = {"model.qk_norm": "head", "moe.load_balance_coeff": 0}
        for flavor, more in (("micro_mla", {}), ("micro_gqa", qwen3)):
            with sy.Run(self.config(flavor, flavor, **more)) as run:
                run.step()
                run.save()
                ids = list(range(60, 92))
                ours = run.logits(ids)
            folder = f"{self.room.name}/{flavor}/checkpoints/step-00000001"
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
            with torch.no_grad():
                theirs = model(torch.tensor([ids])).logits[0].numpy()
            self.assertLess(abs(ours - theirs).max(), 1e-5)


if __name__ == "__main__":
    unittest.main()
