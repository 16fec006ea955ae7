"""read_events.py RUN: the event file of a run as TensorBoard itself reads it, beside metrics.jsonl."""
import json
import math
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

run = sys.argv[1]
events = EventAccumulator(f"{run}/tb", size_guidance={"scalars": 0, "histograms": 0, "tensors": 0})
events.Reload()
lines = [json.loads(line) for line in open(f"{run}/metrics.jsonl")]
train = [x for x in lines if x["kind"] == "train"]
steps = [x["step"] for x in train]
assert steps == list(range(1, len(steps) + 1)), steps

names = {"loss_metrics/global_avg_loss": "loss", "grad_norm": "grad_norm", "lr": "lr", "throughput(tps)": "tps",
         "tflops": "tflops", "mfu(%)": "mfu", "n_tokens_seen": "tokens"}
for tag, key in names.items():
    seen = events.Scalars(tag)
    assert [e.step for e in seen] == steps, (tag, [e.step for e in seen])
    for e, x in zip(seen, train):
        assert math.isclose(e.value, x[key], rel_tol=1e-6), (tag, e, x[key])
held = [(x["step"], x["loss"]) for x in lines if x["kind"] == "eval"]
seen = [(e.step, e.value) for e in events.Scalars("validation_metrics/loss")]
assert len(seen) == len(held) > 0 and all(a[0] == b[0] and math.isclose(a[1], b[1], rel_tol=1e-6) for a, b in zip(seen, held))
layers = [m["layer"] for m in train[0]["moe"]]
assert layers
for k, layer in enumerate(layers):
    tag = f"moe/layer_{layer}/load"
    histograms = events.Histograms(tag)
    assert [e.step for e in histograms] == steps
    for h, x in zip(histograms, train):
        load = x["moe"][k]["load"]
        assert [b for b in h.histogram_value.bucket] == load, (tag, h, load)
        assert h.histogram_value.bucket_limit == [e + 0.5 for e in range(len(load))]
assert "[model]" in events.Tensors("config/text_summary" if "config/text_summary" in events.Tags()["tensors"] else "config")[0].tensor_proto.string_val[0].decode()
data = plugin_data_pb2.HParamsPluginData.FromString(
    events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content)
hparams = data.session_start_info.hparams
assert hparams["optimizer.name"].string_value == "AdamW" and hparams["training.seq_len"].number_value == 32
assert hparams["metrics.enable_tensorboard"].bool_value is True
print(f"{len(steps)} steps, {len(names) + 3 * len(layers)} scalars, {len(layers)} histograms")
