# What a resume takes from its checkpoint and what it refuses: one rule for all sections; another model, tokenizer or data
# set is refused before anything is written; an expert bias stays.
. tests/lib/check.sh

# state RUN: all that is in its folder, to the byte.
state() { (cd "$room/$1" && find . -type f | sort | xargs cksum); }
# refused CODE RUN WHAT PATTERN... : after a train: the exit code, each pattern, and that nothing was written.
refused() {
    expect "$1" "$3"
    same "$(state "$2")" "$before" "$3: the folder is as it was"
    what=$3
    shift 3
    for pattern in "$@"; do
        says "$pattern" "$what"
    done
}

# Another config of the same name in the same folder.
here=$(pwd)
BIN=$(cd "$(dirname "$BIN")" && pwd)/${BIN##*/}
mkdir -p "$room/cwd/a" "$room/cwd/b"
sed "s:tests/data:$here/&:" configs/micro_mla.toml >"$room/cwd/a/my.toml"
sed "s:tests/data:$here/&:" configs/micro_gqa.toml >"$room/cwd/b/my.toml"
cd "$room/cwd" || exit 1
run train a/my.toml --training.steps=2 --run.threads=2
expect 0 "a/my.toml"
before=$(state cwd)
run train b/my.toml --training.steps=4 --run.threads=2
refused 2 cwd "b/my.toml" '^switchyard: flavor micro_gqa: model.attention = "gqa": the run has "mla": another model' \
    '^switchyard: flavor micro_gqa: moe.score_func = "softmax": the run has "sigmoid": another model'
cd "$here" || exit 1

# Every option that makes another model: both values are named.
config=configs/micro_mla.toml
train mla --training.steps=2
before=$(state mla)
while read -r key value was; do
    train mla --training.steps=4 "--$key=$value"
    refused 2 mla "$key" "^switchyard: command line: $key = \"?$value\"?: the run has \"?$was\"?: another model"
    echo "$key" >>"$room/keys"
done <<'END'
model.attention gqa mla
model.dim 64 32
model.n_layers 3 2
model.n_dense_layers 0 1
model.n_heads 4 2
model.n_kv_heads 1 2
model.inter_dim 32 64
model.moe_inter_dim 64 32
model.vocab_size 300 272
model.q_lora_rank 0 16
model.kv_lora_rank 8 16
model.qk_nope_head_dim 8 16
model.qk_rope_head_dim 16 8
model.v_head_dim 8 16
model.rope halves pairs
moe.num_experts 16 8
moe.num_shared_experts 0 1
moe.score_func softmax sigmoid
moe.score_before_experts true false
moe.gate_bias true false
moe.shared_gate true false
tokenizer.bos_token x ""
tokenizer.eos_token x ""
tokenizer.path other.json byte
END
config=configs/micro_gqa.toml
train gqa --training.steps=2
before=$(state gqa)
while read -r key value was; do
    train gqa --training.steps=4 "--$key=$value"
    refused 2 gqa "$key" "^switchyard: command line: $key = \"?$value\"?: the run has \"?$was\"?: another model"
    echo "$key" >>"$room/keys"
done <<'END'
model.n_kv_heads 2 1
model.head_dim 8 16
model.qk_norm head none
model.attention_bias true false
model.attention_output_bias true false
model.tie_word_embeddings true false
END
same "$(sort -u "$room/keys" | tr '\n' ' ')" "$(sed -n 's/^[A-Z]*(\([a-z]*\), \([a-z_]*\),.* MODEL,.*/\1.\2/p' src/config/fields.def |
    sort | tr '\n' ' ')" "every option of effect MODEL is tried here"
train gqa --training.steps=4 --model.dim=64 --model.n_layers=3 --moe.num_experts=4
refused 2 gqa "three at once" "model.dim = 64: the run has 32" "model.n_layers = 3: the run has 2" \
    "moe.num_experts = 4: the run has 8"

# Other data: by options, or because the files are others.
cp tests/data/prose.jsonl "$room/data.jsonl"
head -n 100 tests/data/prose.jsonl >"$room/half.jsonl"
sed 's/"text"/"body"/' tests/data/prose.jsonl >"$room/body.jsonl"
train data --training.steps=2 --training.dataset_path="$room/data.jsonl"
before=$(state data)
train data --training.steps=4 --training.dataset_path="$room/half.jsonl"
refused 2 data "another dataset_path" 'dataset_path = \[".*half.jsonl"\]: the run has \[".*data.jsonl"\]: other documents'
train data --training.steps=4 --training.dataset_path="$room/body.jsonl" --data.text_key=body --data.format=jsonl
refused 2 data "another text_key" 'data.text_key = "body": the run has "text": other documents' # and other hashes of files
for change in holdout=0.05 max_bytes=50000 format=text; do
    train data --training.steps=4 --training.dataset_path="$room/data.jsonl" --data.$change
    refused 2 data "data.$change" "command line: data.${change%=*} = \"?${change#*=}\"?: the run has .*: other documents"
done
head -n 100 tests/data/prose.jsonl >"$room/data.jsonl"
train data --training.steps=4 --training.dataset_path="$room/data.jsonl"
refused 3 data "a data file that changed" "data.jsonl: the data file changed since the run began"
rm "$room/data.jsonl"
train data --training.steps=4 --training.dataset_path="$room/data.jsonl"
refused 1 data "a data file that is gone" "data.jsonl"

# Another recipe, a wrong config: nothing is written either.
before=$(state gqa)
train gqa --training.steps=4 --numerics.lanes=4
refused 2 gqa "another recipe" "lanes 8 there, 4 now"
train gqa --training.steps=4 --moe.top_k=9
refused 2 gqa "a wrong config" "moe.top_k = 9: more than"
train gqa --run.device=cuda --training.steps=4
[ $code -ne 0 ] || fail "run.device=cuda trained"
same "$(state gqa)" "$before" "run.device=cuda: the folder is as it was"

# A new run that cannot be leaves no folder.
train none --training.steps=1 --training.dataset_path="$room/nothing"
[ $code -ne 0 ] || fail "a run without data trained"
[ ! -e "$room/none" ] || fail "a new run that failed left a folder"

# What neither file nor flags state keeps the checkpoint's value, in every section; the log names it.
cat >"$room/full.toml" <<END
[model]
flavor = "micro_gqa"
norm_eps = 1e-6
rope_theta = 5e4
[moe]
top_k = 3
route_scale = 1.5
load_balance_coeff = 0.005
seq_aux_loss_coeff = 0.001
[training]
dataset_path = ["tests/data/prose.jsonl"]
global_batch_size = 12
seq_len = 24
steps = 6
max_norm = 0.25
[optimizer]
lr = 3e-3
beta1 = 0.8
weight_decay = 0.2
[lr_scheduler]
warmup_steps = 3
decay_type = "cosine"
min_lr_factor = 0.125
[data]
holdout = 0.05
shuffle = false
[numerics]
class = "fp32"
lanes = 2
[debug]
seed = 7
[run]
nonfinite = "skip"
END
config=$room/full.toml
train whole --checkpoint.interval=1
expect 0 "full.toml"
want=$(history whole)
printf '[model]\n' >"$room/bare.toml" # nothing is stated
printf '[model]\nflavor = "micro-gqa"\n[numerics]\nclass = "auto"\nlanes = 0\n[run]\ndir = ""\n' >"$room/open.toml"
for name in bare open; do
    copy_until whole $name 3
    config=$room/$name.toml
    train $name --checkpoint.interval=1
    expect 0 "$name.toml"
    same "$(history $name)" "$want" "$name.toml: the bits of the whole run"
    grep -q '^warning' "$room/out" && { fail "$name.toml warns"; grep '^warning' "$room/out"; }
    while read -r key value; do
        says "^kept from .*/step-00000003: $key = \"?$value\"?\$" "$name.toml: $key is named"
        grep -q "^kept from .*: $key = " "$room/$name/log.txt" || fail "$name.toml: $key is not in log.txt"
    done <<'END'
model.norm_eps 1e-6
model.rope_theta 50000.0
moe.top_k 3
moe.route_scale 1.5
moe.load_balance_coeff 0.005
moe.seq_aux_loss_coeff 0.001
training.global_batch_size 12
training.seq_len 24
training.steps 6
training.max_norm 0.25
optimizer.lr 0.003
optimizer.beta1 0.8
optimizer.weight_decay 0.2
lr_scheduler.warmup_steps 3
lr_scheduler.decay_type cosine
lr_scheduler.min_lr_factor 0.125
data.holdout 0.05
data.shuffle false
numerics.class fp32
numerics.lanes 2
debug.seed 7
run.nonfinite skip
END
done
config=$room/open.toml # the flavor is stated: its own values are no news
same "$(grep -c '^kept from' "$room/out")" 23 "keys that are kept: the list and dataset_path"
grep -E '^kept.*(model.dim|model.n_heads|moe.num_experts|model.flavor) = ' "$room/out" && fail "a flavor's own value is named"
grep -q '^lr = 0.003$' "$room/open/config.toml" || fail "config.toml does not have what was kept"

# What is stated holds, and a change that makes another run is a warning; config.toml has it.
copy_until whole stated 3
config=$room/full.toml
train stated --checkpoint.interval=1 --optimizer.lr=1e-3
expect 0 "another lr"
says "^warning: optimizer.lr was 0.003 up to step 3, now 0.001" "another lr"
same "$(grep -c '^warning' "$room/out")" 1 "another lr: one warning"
grep -q '^lr = 0.001$' "$room/stated/config.toml" || fail "config.toml does not have the new lr"

# A run that has nothing to do says so: no warnings, no other config.toml.
before=$(cksum <"$room/whole/config.toml")
train whole --training.steps=4 --optimizer.lr=1e-3 --lr_scheduler.decay_ratio=1
expect 0 "nothing to do"
says "^nothing to do: step 6 of training.steps = 4 is done already" "nothing to do"
grep -E '^warning|the bits go|^kept' "$room/out" && fail "nothing to do: it warns"
same "$(cksum <"$room/whole/config.toml")" "$before" "nothing to do: config.toml"
same "$(history whole)" "$want" "nothing to do: metrics"

# The expert bias stays when its coefficient becomes 0: the end of DeepSeek-V3's recipe.
bias() { # RUN STEP: the bytes of its first expert bias
    file=$(checkpoint "$1" "$2")/model-00001-of-00001.safetensors
    header=$(od -An -tu8 -N 8 "$file" | tr -d ' ')
    range=$(tail -c +9 "$file" | head -c "$header" | sed -n 's/.*e_score_correction_bias":{[^}]*"data_offsets":\[\([0-9]*,[0-9]*\)\].*/\1/p')
    [ -n "$range" ] || return
    tail -c +$((9 + header + ${range%,*})) "$file" | head -c $((${range#*,} - ${range%,*})) | od -An -tx4
}
keep="--checkpoint.interval=1 --checkpoint.keep_latest_k=0"
for config in configs/micro_mla.toml configs/micro_gqa.toml; do
    rm -rf "$room/moves" "$room/stays" "$room/again"
    train moves $keep --training.steps=6
    copy_until moves stays 3
    train stays $keep --training.steps=6 --moe.load_balance_coeff=0
    expect 0 "$config: load_balance_coeff = 0 on the way"
    says '^kept from .*: moe.keep_bias = true$' "$config: keep_bias is named"
    [ -n "$(bias moves 3)" ] || fail "$config: no expert bias found"
    differ "$(bias moves 3)" "$(bias moves 6)" "$config: a bias that moves"
    same "$(bias stays 6)" "$(bias moves 3)" "$config: the bias is frozen"
    same "$(history stays | head -n 3)" "$(history moves | head -n 3)" "$config: steps before"
    want=$(history stays)
    copy_until stays again 5
    train again $keep --training.steps=6 --moe.load_balance_coeff=0 --run.threads=3 --training.local_batch_size=3
    expect 0 "$config: resumed with a bias that stays"
    same "$(history again)" "$want" "$config: resumed with a bias that stays: metrics"
    diff -r "$(checkpoint stays 6)" "$(checkpoint again 6)" || fail "$config: resumed with a bias that stays: checkpoint"
    same "$(grep architecture -A 1 "$(checkpoint stays 6)/config.json")" "$(grep architecture -A 1 "$(checkpoint moves 6)/config.json")" \
        "$config: the class of the model"
    run generate "$room/stays" --prompt x --max-tokens 4
    expect 0 "$config: generate with a bias that stays"
    train stays $keep --training.steps=8 --moe.load_balance_coeff=0.001
    expect 0 "$config: the bias moves again"
    differ "$(bias stays 8)" "$(bias moves 3)" "$config: a bias that moves again"
    copy_until moves again 3
    train again --moe.load_balance_coeff=0 --moe.keep_bias=false
    expect 2 "$config: keep_bias=false"
    says "moe.keep_bias = false: .* has an expert bias, which stays" "$config: keep_bias=false"

    # The other way: a run without a bias gets one, which begins as zeros.
    rm -rf "$room/without"
    train without $keep --training.steps=3 --moe.load_balance_coeff=0
    [ -z "$(bias without 3)" ] || fail "$config: a bias without a coefficient"
    train without $keep --training.steps=6 --moe.load_balance_coeff=0.001
    expect 0 "$config: a bias that is new"
    [ -n "$(bias without 6)" ] || fail "$config: there is no new bias"
    run inspect "$room/without"
    expect 0 "$config: inspect with a new bias"
done
finish
