"""read_page.py PROGRAM CONFIG RUN RANKS: trains with metrics.prometheus_port, reads the page while it does, and compares
it with the line of the same step in metrics.jsonl."""
import json
import math
import socket
import subprocess
import sys
import time
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

program, config, run, ranks = sys.argv[1:]
with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    port = s.getsockname()[1]
trains = subprocess.Popen([program, "train", config, f"--run.dir={run}", f"--run.ranks={ranks}", "--training.steps=400",
                           "--checkpoint.enable=false", f"--metrics.prometheus_port={port}"],
                          stdout=subprocess.DEVNULL)
pages = []
while trains.poll() is None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
            assert page.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            pages.append(page.read().decode())
    except OSError:
        pass
    time.sleep(0.02)
assert trains.returncode == 0
lines = {x["step"]: x for x in map(json.loads, open(f"{run}/metrics.jsonl")) if x["kind"] == "train"}
compared = 0
for page in pages:
    families = {f.name: f for f in text_string_to_metric_families(page)}
    info = families["switchyard_info"].samples[0].labels
    assert info["run"] == run and info["ranks"] == ranks, info
    if "switchyard_step" not in families:
        continue
    line = lines[int(families["switchyard_step"].samples[0].value)]
    for name, key, scale in [("loss", "loss", 1), ("grad_norm", "grad_norm", 1), ("learning_rate", "lr", 1),
                             ("tokens", "tokens", 1), ("tokens_per_second", "tps", 1), ("mfu_ratio", "mfu", 0.01)]:
        value = families[f"switchyard_{name}"].samples[0].value
        assert math.isclose(value, line[key] * scale, rel_tol=1e-6), (name, value, line[key])
    assert families["switchyard_tokens"].type == "counter" and families["switchyard_loss"].type == "gauge"
    cv = {int(s.labels["layer"]): s.value for s in families["switchyard_moe_load_cv"].samples}
    assert cv.keys() == {m["layer"] for m in line["moe"]}
    assert all(math.isclose(cv[m["layer"]], m["load_cv"], rel_tol=1e-4) for m in line["moe"]), (cv, line["moe"])
    compared += 1
assert compared > 3, f"{compared} of {len(pages)} pages have a step"
