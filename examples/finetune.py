"""Trains a model on texts and says what that did to texts it was not trained on, and what it then writes:

    finetune.py CONFIG TEXTS [section.key=value ...]      goes on where the run (run.dir) is

Needs the package: pip install ./python
"""

import sys

import switchyard as sy


def main(config_path, texts, *options):
    config = sy.Config({"training.dataset_path": [texts]}, file=config_path)
    for option in options:
        key, _, value = option.partition("=")
        config[key] = value
    with sy.Run(config, "finetune") as run:
        before = run.eval()
        for result in run:
            print(f"step {result.step}: loss {result.loss:.4f}", file=sys.stderr)
        run.save()
        about = run.about
        print(f"held-out loss {before:.4f} before, {run.eval():.4f} after step {about['step']}")
        print("weights", about["weights_digest"])
        logits = run.logits(list(b"The "))
        print("logits", "x".join(map(str, logits.shape)), file=sys.stderr)
    text = sy.generate(about["run_dir"], "The ", max_tokens=20, temperature=0)[0]
    print("The " + text["text"], file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
