# The sha256sum of every file of a checkpoint, from 1, 2, 3 and 8 ranks that are threads.
. tests/lib/check.sh
. tests/lib/sums.sh
config=configs/micro_mla.toml
first
for ranks in 2 3 8; do
    train "threads$ranks" --training.steps=3 --run.ranks=$ranks
    expect 0 "$ranks threads"
    again "threads$ranks" "$ranks threads"
done
train stages --training.steps=3 --run.ranks=8 --parallelism.pipeline_parallel_degree=2 --parallelism.expert_parallel_degree=4
again stages "8 threads, 2 stages, experts over 4"

# Another run has others: a control.
train other --training.steps=3 --debug.seed=7
sums other
cmp -s "$room/sums" "$room/should" && fail "a run of another seed has the same sums"
finish
