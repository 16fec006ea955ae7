"""The orders of PyTorch's interleaved pipeline schedules, of which tests/unit/test_pipeline_schedule.c has the
hash: a line for each step, "name R V M rank stage micro-batch F|B|I|W", over all shapes of up to 6 ranks, 4
stages a rank and 20 micro-batches that PyTorch takes.

    python tools/pytorch_schedules.py [--lines]     FNV-1a 64 of the lines; or the lines

Made with PyTorch 2.15. It asks the classes for one rank's steps without a process group.
"""
import sys
import types

from torch.distributed.pipelining import schedules

LETTER = {"FORWARD": "F", "FULL_BACKWARD": "B", "BACKWARD_INPUT": "I", "BACKWARD_WEIGHT": "W"}
CLASSES = {
    "Interleaved1F1B": schedules.ScheduleInterleaved1F1B,
    "InterleavedZeroBubble": schedules.ScheduleInterleavedZeroBubble,
}


def lines(name, ranks, each, micro_batches):
    rounds = max(1, micro_batches // ranks)
    if micro_batches % rounds:
        return
    schedule = types.SimpleNamespace(
        pp_group_size=ranks,
        n_local_stages=each,
        _n_microbatches=micro_batches,
        number_of_rounds=rounds,
        microbatches_per_round=micro_batches // rounds,
    )
    for rank in range(ranks):
        for step in CLASSES[name]._calculate_single_rank_operations(schedule, rank):
            if step is not None:
                work = LETTER[step.computation_type.name]
                yield f"{name} {ranks} {each} {micro_batches} {rank} {step.stage_index} {step.microbatch_index} {work}\n"


def main():
    h = 0xCBF29CE484222325
    for name in CLASSES:
        for ranks in range(1, 7):
            for each in range(1, 5):
                for m in range(1, 21):
                    for line in lines(name, ranks, each, m):
                        if "--lines" in sys.argv:
                            print(line, end="")
                        for byte in line.encode():
                            h = (h ^ byte) * 0x100000001B3 % 2**64
    if "--lines" not in sys.argv:
        print("%016x" % h)


main()
