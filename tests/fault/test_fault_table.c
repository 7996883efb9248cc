/* Everything a user, a disk or a stranger's file can do wrong, through the program: the right exit status, one sentence that
 * says what was asked, what was found and what would work, and nothing lost.
 *
 * labels: slow timeout=300 */
#include "train_run.h"
#include <sys/mount.h>
#include <sys/resource.h>

/* Shell words: $D the folder with the good run, $C this case's copy of it, $S the settings of a small run, $T its step. */
typedef struct fault_case {
    const char *prepare; /* shell command, or NULL */
    const char *line;    /* the program's words */
    int exit_code;
    const char *parts[3]; /* of the error line */
    const char *env;      /* NAME=VALUE, or NULL */
} fault_case;

#define CONFIG_FILE(text) "printf '" text "' >$C/c.yaml"
/* Bytes (octal, for printf) over those at offset `at` of a file; from the end when `at` is negative */
#define PATCH(file, at, bytes) \
    "printf '" bytes "' | dd of=$C/" file " bs=1 seek=" #at " conv=notrunc 2>/dev/null"
/* Every bit of the byte at `at`. */
#define FLIP(file, at)                                                       \
    "f=$C/" file "; n=" at                                                   \
    "; printf \"\\\\$(printf %o $((255 - $(od -An -tu1 -j$n -N1 $f))))\" | " \
    "dd of=$f bs=1 conv=notrunc seek=$n 2>/dev/null"
#define EDIT(file, script) "LC_ALL=C sed -i '" script "' $C/" file
#define SHARD              "train $S data.tokenizer=byte data.path=$C/cache/train.tok"
#define MANIFEST           "run/$T/lockstep.json"
/* The manifest ends with a hash of what it says, so an edit is seen before its meaning is; what it says wrong with a right hash is for
 * tests/unit/ckpt. */
#define SEAL          "does not end with the hash of what it says"
#define WEIGHTS       "run/$T/model.safetensors"
#define TOKENIZER     "cache/tokenizer.json"
#define RESUME        "resume $C/run out=$C/run steps=4"
#define OWN_TOKENIZER "train $S data.tokenizer=$C/" TOKENIZER " data.cache=$C/fresh"

static const fault_case config_cases[] = {
    {CONFIG_FILE("stepz: 5\\n"),
     "train $C/c.yaml",
     2,
     {"c.yaml:1: unknown key", "did you mean 'steps'"},
     NULL},
    {CONFIG_FILE("model:\\n  layrs: 2\\n"),
     "train $C/c.yaml",
     2,
     {"c.yaml:2", "model.layrs", "did you mean 'model.layers'"},
     NULL},
    {CONFIG_FILE("steps: many\\n"),
     "train $C/c.yaml",
     2,
     {"steps = 'many'", "c.yaml:1", "integer"},
     NULL},
    {CONFIG_FILE("steps: -1\\n"), "train $C/c.yaml", 2, {"steps = '-1'", "allowed"}, NULL},
    {CONFIG_FILE("precision: f8\\n"),
     "train $C/c.yaml",
     2,
     {"precision = 'f8'", "f32", "bf16"},
     NULL},
    {CONFIG_FILE("steps: [1]\\n"), "train $C/c.yaml", 2, {"c.yaml:1: a list was found"}, NULL},
    {CONFIG_FILE("steps: 5\\n\\tbatch: 2\\n"),
     "train $C/c.yaml",
     2,
     {"c.yaml:2", "not valid YAML"},
     NULL},
    {CONFIG_FILE("steps: 5\\nsteps: 6\\n"),
     "train $C/c.yaml",
     2,
     {"c.yaml:2", "'steps' was given before, on line 1"},
     NULL},
    {CONFIG_FILE("model: 5\\n"), "train $C/c.yaml", 2, {"'model' is a section"}, NULL},
    {CONFIG_FILE("steps:\\n  a: 1\\n"),
     "train $C/c.yaml",
     2,
     {"'steps' holds one value, not a section"},
     NULL},
    {CONFIG_FILE("\\001\\002\\377"), "train $C/c.yaml", 2, {"c.yaml:1", "not valid YAML"}, NULL},
    {CONFIG_FILE(""), "train $C/c.yaml", 2, {"data.path is not set", "token shard"}, NULL},
    {CONFIG_FILE("steps: 1e3\\n"), "train $C/c.yaml", 2, {"steps = '1e3'", "integer"}, NULL},
    {NULL, "train $C/nothing.yaml", 3, {"nothing.yaml", "No such file"}, NULL},
    {NULL, "train $C", 3, {"$C", "irectory"}, NULL},
    {NULL, "train $S lanes=3", 2, {"lanes = 3", "power of two"}, NULL},
    {NULL, "train $S batch=6 lanes=4", 2, {"batch = 6 is not a multiple of lanes = 4"}, NULL},
    {NULL,
     "train $S stpes=5",
     2,
     {"command line", "unknown key 'stpes'", "did you mean 'steps'"},
     NULL},
    {NULL, "train $S =5", 2, {"=5"}, NULL},
    {NULL, "train $S steps=", 2, {"command line: steps = null", "a value is needed"}, NULL},
    {NULL, "train $S steps=99999999999999999999", 2, {"steps = ", "allowed"}, NULL},
    {NULL, "train $S tensorboard=maybe", 2, {"tensorboard = 'maybe'", "true"}, NULL},
    {NULL, "train $S window=1000", 2, {"window = 1000 is longer than model.context = 16"}, NULL},
    {NULL, "train $S recompute=bytes", 2, {"needs recompute_bytes"}, NULL},
    {NULL,
     "train $S recompute=bytes recompute_bytes=5",
     2,
     {"recompute_bytes = 5 asks for less", "raise it"},
     NULL},
    {NULL,
     "train $S model.heads=3",
     2,
     {"model.width (16) must be a multiple of model.heads (3)"},
     NULL},
    {NULL, "train $S model.kv_heads=1", 2, {"model.kv_heads = 1", "model.kind=llama"}, NULL},
    {NULL, "train $S model.kind=llama model.width=30", 2, {"15", "even head size"}, NULL},
    {NULL, "train $S model.kind=gpt3", 2, {"model.kind = 'gpt3'", "gpt2", "llama"}, NULL},
    {NULL,
     "train $S model.vocab=100",
     2,
     {"model.vocab = 100", "tokenizer has", "model.vocab: 0"},
     NULL},
    {NULL, "train $S optim.warmup=50", 2, {"optim.warmup (50) is longer than the run"}, NULL},
    {NULL, "train $S optim.lr=-1", 2, {"optim.lr = '-1'", "allowed"}, NULL},
    {NULL, "train $S optim.lr=nan", 2, {"optim.lr = 'nan'"}, NULL},
    {NULL, "train $S optim.kind=adamm", 2, {"optim.kind = 'adamm'", "adamw"}, NULL},
    {NULL, "train $S device=cuda", 6, {"device = cuda", "cpu"}, NULL},
    {NULL, "train $S device=", 2, {"command line: device = null: a value is needed"}, NULL},
    {NULL, "train $S out=", 2, {"out = null: a value is needed"}, NULL},
    {NULL, "train $S data.tokenizer=", 2, {"data.tokenizer = null: a value is needed"}, NULL},
    {NULL, "train $S", 2, {"LOCKSTEP_OUT: out = null: a value is needed"}, "LOCKSTEP_OUT="},
    {"printf 'device:\\n' >$C/c.yaml", "plan $C/c.yaml", 2, {"c.yaml:1: device = null"}, NULL},
    {"printf 'out: \"\"\\n' >$C/c.yaml", "plan $C/c.yaml", 2, {"c.yaml:1: out = ''"}, NULL},
    {NULL, "train $S model.kind=mlp optim.patience=3", 2, {"optim.patience", "set it to 0"}, NULL},
    {NULL,
     "train $S model.kind=mlp data.path=$C/none",
     3,
     {"no image folder", "dataset-fashion-mnist"},
     NULL},
    {NULL, "train $S", 2, {"LOCKSTEP_STEPZ", "did you mean LOCKSTEP_STEPS"}, "LOCKSTEP_STEPZ=1"},
    {NULL,
     "train $S",
     2,
     {"LOCKSTEP_MODEL_DROPOUT", "'half'", "number"},
     "LOCKSTEP_MODEL_DROPOUT=half"},
};

static const fault_case word_cases[] = {
    {NULL, "trian", 2, {"verb 'trian' is not known", "did you mean 'train'"}, NULL},
    {NULL, "train", 2, {"an argument is missing", "usage: lockstep train CONFIG"}, NULL},
    {NULL, "train a.yaml b.yaml", 2, {"'b.yaml' is one too many"}, NULL},
    {NULL, "train $S --fast", 2, {"option '--fast' is not known"}, NULL},
    {NULL,
     "checkpoint hsah $C/run",
     2,
     {"action 'hsah' is not known", "did you mean 'hash'"},
     NULL},
    {NULL, "checkpoint verify", 2, {"an argument is missing"}, NULL},
    {NULL, "eval $C/run --part test", 2, {"--part test", "train, stop", "held"}, NULL},
    {NULL, "generate $C/run --tokens 0", 2, {"--tokens wants", "from 1", "found '0'"}, NULL},
    {NULL, "generate $C/run --temperature hot", 2, {"--temperature wants", "found 'hot'"}, NULL},
    {NULL, "generate $C/run --top-p 2", 2, {"--top-p wants", "from 0 to 1"}, NULL},
    {NULL, "generate $C/run -q --prompt", 2, {"--prompt wants a value"}, NULL},
    {NULL, "generate $C/run --seed -1", 2, {"--seed wants", "found '-1'"}, NULL},
    {NULL, "generate $C/nothing", 3, {"nothing", "holds no checkpoint"}, NULL},
    {NULL, "generate $C/run hello", 2, {"'hello' is one too many", "-p TEXT"}, NULL},
    {NULL, "run -n 0 -- train $S", 2, {"--ranks wants an integer from 1", "found '0'"}, NULL},
    {NULL, "run -n 2 --transport x -- train $S", 2, {"--transport 'x'", "shm", "threads"}, NULL},
    {NULL, "run --hosts $C/none -- train $S", 3, {"cannot open", "/none"}, NULL},
    {NULL, "run --hosts $C -- train $S", 3, {"cannot read", "Is a directory"}, NULL},
    {"printf 'a b\\n' >$C/hosts",
     "run --hosts $C/hosts --launcher openmpi -- train $S",
     4,
     {"hosts:1: 'b' is not known", "HOST [slots=N]"},
     NULL},
    {"printf 'a\\000b' >$C/hosts", "run --hosts $C/hosts -- train $S", 4, {"it holds a NUL"}, NULL},
    {": >$C/hosts",
     "run --hosts $C/hosts --launcher nompi -- train $S",
     2,
     {"--launcher 'nompi' is not known; openmpi and mpich are"},
     NULL},
    {NULL, "chaos -n 2 -- train $S", 2, {"-n 2", "takes 3 ranks or more"}, NULL},
    {NULL, "chaos -- resume $C/run", 2, {"the verb must be train, found 'resume'"}, NULL},
    {NULL, "chaos --kinds die,,stop -- train $S", 2, {"--kinds ''", "die, stop"}, NULL},
    {NULL,
     "chaos --recover --kinds on -- train $S steps=9",
     2,
     {"'on'", "did you mean 'one'"},
     NULL},
    {NULL, "chaos --link-up x -- train $S", 2, {"--link-up goes with --hosts FILE"}, NULL},
    {NULL, "replay $C/run", 2, {"--step N is missing"}, NULL},
    {NULL, "replay $C/run --step 0", 2, {"--step wants an integer from 1", "found '0'"}, NULL},
    {NULL, "data verify $C/none", 3, {"cannot open", "/none"}, NULL},
    {": >$C/x.tok", "data verify $C/x.tok", 4, {"not a token shard: 0 bytes"}, NULL},
    {"printf '{}' >$C/m.json", "plan $S --machine $C/m.json", 4, {"m.json", "\"format\""}, NULL},
    {NULL, "plan $S --machine $C/m.json", 3, {"cannot open", "m.json"}, NULL},
    {NULL, "plan $S --svg $C/none/x.svg", 3, {"cannot create", "No such file"}, NULL},
    {NULL, "plan $S mesh.dp=3", 2, {"3 data-parallel ranks", "power of two"}, NULL},
    {NULL, "bench --plan $C/none.yaml", 3, {"cannot open", "none.yaml"}, NULL},
    {NULL, "config show $C", 3, {"cannot read", "Is a directory"}, NULL},
    {"rm $C/run/$T/tokenizer.json",
     "generate $C/run",
     4,
     {"lists the file 'tokenizer.json', which is missing"},
     NULL},
    {"printf '{' >$C/run/$T/tokenizer.json",
     "generate $C/run",
     4,
     {"tokenizer.json has 1 bytes", "it is truncated"},
     NULL},
    {": >$C/file", "plan $S --svg $C/file/x.svg", 3, {"file/x.svg", "Not a directory"}, NULL},
    {NULL, "plan $S --graph $C/no/where.txt", 3, {"no/where.txt", "No such file"}, NULL},
};

static const fault_case data_cases[] = {
    {NULL, "train $S data.path=$C/nothing.txt", 3, {"nothing.txt", "no such file"}, NULL},
    {": >$C/e.txt", "train $S data.path=$C/e.txt", 4, {"e.txt", "empty corpus"}, NULL},
    {"mkdir $C/d", "train $S data.path=$C/d", 4, {"holds no text file"}, NULL},
    {"mkdir $C/d; : >$C/d/a.pdf", "train $S data.path=$C/d", 6, {"a.pdf", ".txt"}, NULL},
    {"printf 'a\\377b' >$C/a.txt",
     "train $S data.path=$C/a.txt data.tokenizer=bpe",
     4,
     {"a.txt"},
     NULL},
    {"printf '{\"text\":\"a\\377b\"}\\n' >$C/a.jsonl",
     "train $S data.path=$C/a.jsonl",
     4,
     {"a.jsonl", "1"},
     NULL},
    {"printf '{\"text\":\"a\"}\\n{\"text\":\\n' >$C/a.jsonl",
     "train $S data.path=$C/a.jsonl data.split=false",
     4,
     {"a.jsonl", "2", "JSON"},
     NULL},
    {"printf '{\"words\":\"a\"}\\n' >$C/a.jsonl",
     "train $S data.path=$C/a.jsonl data.split=false",
     4,
     {"a.jsonl", "\"text\""},
     NULL},
    {"printf 'not zstd' >$C/a.txt.zst",
     "train $S data.path=$C/a.txt.zst",
     4,
     {"a.txt.zst", "zstd"},
     NULL},
    {"printf 'short' >$C/a.txt",
     "train $S data.path=$C/a.txt data.split=false",
     4,
     {"6 tokens", "a window of 16 needs at least 17"},
     NULL},
    {NULL,
     "train $S data.path=$C/cache/train.tok data.tokenizer=bpe",
     2,
     {"train.tok", "is a token shard", "tokenizer.json"},
     NULL},
    {"truncate -s -8 $C/cache/train.tok", SHARD, 4, {"train.tok", "cut off"}, NULL},
    {"truncate -s 100 $C/cache/train.tok", SHARD, 4, {"train.tok", "100 bytes"}, NULL},
    {": >$C/cache/train.tok", SHARD, 4, {"train.tok", "0 bytes"}, NULL},
    {PATCH("cache/train.tok", 0, "XX"), SHARD, 4, {"not a token shard", "LSTOKENS"}, NULL},
    {PATCH("cache/train.tok", 8, "\\011"), SHARD, 6, {"version 9", "version 1 works"}, NULL},
    {PATCH("cache/train.tok", 12, "\\003"), SHARD, 4, {"3 bytes a token", "must be 2"}, NULL},
    {PATCH("cache/train.tok", 16, "\\0\\0\\0\\0"), SHARD, 4, {"vocabulary size 0"}, NULL},
    {PATCH("cache/train.tok", 20, "\\377\\377\\0\\0"), SHARD, 4, {"end-of-text token 65535"}, NULL},
    {PATCH("cache/train.tok", 24, "\\001"), SHARD, 4, {"block size or reserved"}, NULL},
    {PATCH("cache/train.tok", 32, "Z"), SHARD, 4, {"fingerprint"}, NULL},
    {PATCH("cache/train.tok", 33, "\\141\\142"), SHARD, 4, {"hash of header", "damaged"}, NULL},
    {PATCH("cache/train.tok", 100, "\\001"), SHARD, 4, {"reserved"}, NULL},
    {"cp configs/tiny.yaml $C/cache/train.tok",
     SHARD,
     4,
     {"not a token shard", "lockstep data tokenize"},
     NULL},
    {"dd if=/dev/zero bs=1000 count=160 2>/dev/null | tr '\\0' '\\377' | dd of=$C/cache/train.tok "
     "bs=1 seek=128 conv=notrunc 2>/dev/null",
     SHARD,
     4,
     {"token id 65535", "vocabulary size", "lockstep data verify"},
     NULL},
    {NULL, SHARD " data.held_path=$C/cache/nothing.tok", 3, {"nothing.tok"}, NULL},
    {NULL,
     "eval $C/run data.path=$C/cache/train.tok data.tokenizer=byte",
     2,
     {"no held-out part", "data.held_path"},
     NULL},
    {NULL,
     "train $S data.tokenizer=$C/nothing.json data.cache=$C/fresh",
     3,
     {"nothing.json"},
     NULL},
    {"printf '{\"a\":' >$C/" TOKENIZER,
     OWN_TOKENIZER,
     4,
     {"tokenizer.json", "not valid JSON"},
     NULL},
    {"printf '{}' >$C/" TOKENIZER, OWN_TOKENIZER, 4, {"tokenizer.json", "model"}, NULL},
    {EDIT(TOKENIZER, "s/\"BPE\"/\"WordPiece\"/"), OWN_TOKENIZER, 6, {"WordPiece", "BPE"}, NULL},
    {"printf 'x' >$C/cache/tokenizer.json",
     "train $S",
     4,
     {"tokenizer.json", "not valid JSON"},
     NULL},
    {"cp $C/cache/tokenizer.json $C/t.json; " EDIT("t.json", "s/<|endoftext|>/<|endofbooks|>/g"),
     SHARD " data.tokenizer=$C/t.json",
     2,
     {"made with tokenizer", "encode the text again"},
     NULL},
};

static const fault_case checkpoint_cases[] = {
    {NULL,
     "resume $C/none",
     3,
     {"none' holds no checkpoint", "there is no such folder; name the folder of a run"},
     NULL},
    {"printf step-000000009 >$C/run/latest",
     "resume $C/run",
     3,
     {"step-000000009' is no checkpoint"},
     NULL},
    {"printf ../../etc >$C/run/latest",
     "resume $C/run",
     4,
     {"should name a folder beside it", "../../etc"},
     NULL},
    {": >$C/run/latest", "resume $C/run", 4, {"should name a folder beside it"}, NULL},
    {"printf 'step\\033[2J' >$C/run/latest",
     "resume $C/run",
     4,
     {"should name a folder beside it, found 8 bytes that are no name"},
     NULL},
    {"printf 'step\\000x' >$C/run/latest", "eval $C/run", 4, {"found 6 bytes that are no"}, NULL},
    {": >$C/file", "generate $C/file", 3, {"/file' holds no checkpoint: it is a file"}, NULL},
    {NULL, "checkpoint verify ''", 3, {"'' holds no checkpoint: there is no such folder"}, NULL},
    {"truncate -s 500 $C/" MANIFEST, RESUME, 4, {"lockstep.json", SEAL}, NULL},
    {": >$C/" MANIFEST, RESUME, 4, {"lockstep.json", SEAL}, NULL},
    {"printf '[]' >$C/" MANIFEST, RESUME, 4, {SEAL}, NULL},
    {EDIT(MANIFEST, "s/lockstep checkpoint/other checkpoint/"), RESUME, 4, {SEAL}, NULL},
    {EDIT(MANIFEST, "s/\"version\": 2/\"version\": 3/"), RESUME, 4, {SEAL}, NULL},
    {EDIT(MANIFEST, "s/\"step\": 2/\"step\": \"two\"/"), RESUME, 4, {SEAL}, NULL},
    {EDIT(MANIFEST, "s/\"step\": 2/\"step\": -2/"), RESUME, 4, {SEAL}, NULL},
    {EDIT(MANIFEST, "s/\"seed\": \"7\"/\"seed\": \"x\"/"), RESUME, 4, {SEAL}, NULL},
    {EDIT(MANIFEST, "s/\"tensors\": /\"tensor\": /"), RESUME, 4, {SEAL}, NULL},
    {EDIT(MANIFEST, "s/\"config\": /\"settings\": /"), RESUME, 4, {SEAL}, NULL},
    {EDIT(MANIFEST, "s/\"version\": 2,/\"version\": 2,\"version\": 2,/"), RESUME, 4, {SEAL}, NULL},
    {EDIT(MANIFEST, "0,/\"xxh3\": \"./s//\"xxh3\": \"!/"), RESUME, 4, {SEAL}, NULL},
    {EDIT(MANIFEST, "s/\"xxh3\": \"[0-9a-f]*/\"xxh3\": \"0123456789abcdef/"),
     RESUME,
     4,
     {SEAL},
     NULL},
    {EDIT(MANIFEST, "0,/\"dtype\": \"f32/s//\"dtype\": \"f16/"), RESUME, 4, {SEAL}, NULL},
    {EDIT(MANIFEST, "0,/\"dtype\": \"f32/s//\"dtype\": \"f33/"), RESUME, 4, {SEAL}, NULL},
    {EDIT(MANIFEST, "s/^    16,*$/    17/"), RESUME, 4, {SEAL}, NULL},
    {EDIT(MANIFEST, "s/\"file\": \"optimizer/\"file\": \"..\\/optimizer/"),
     RESUME,
     4,
     {SEAL},
     NULL},
    {EDIT(MANIFEST, "s/\"name\": \"transformer.wte/\"name\": \"transformer.xyz/"),
     RESUME,
     4,
     {SEAL},
     NULL},
    {EDIT(MANIFEST, "s/\"bar\": /\"foo\": /"), RESUME, 4, {SEAL}, NULL},
    {EDIT(MANIFEST, "s/\"optim.lr\": [0-9.e-]*/\"optim.lr\": \"fast\"/"), RESUME, 4, {SEAL}, NULL},
    {EDIT(MANIFEST, "s/\"steps\": 2/\"stepz\": 2/"), RESUME, 4, {SEAL}, NULL},
    {"rm $C/" WEIGHTS, RESUME, 4, {"lists the file 'model.safetensors', which is missing"}, NULL},
    {"rm $C/run/$T/optimizer.safetensors", RESUME, 4, {"optimizer.safetensors", "missing"}, NULL},
    {"truncate -s -4 $C/" WEIGHTS, RESUME, 4, {"model.safetensors", "truncated"}, NULL},
    {"truncate -s 4 $C/" WEIGHTS, RESUME, 4, {"has 4 bytes", "it is truncated"}, NULL},
    {": >$C/" WEIGHTS, RESUME, 4, {"model.safetensors", "0 bytes"}, NULL},
    {PATCH(WEIGHTS, 0, "\\377\\377\\377\\377\\377\\377\\377\\177"),
     RESUME,
     4,
     {"the header", "has another hash"},
     NULL},
    {PATCH(WEIGHTS, 2, "\\020"), RESUME, 4, {"the header", "has another hash"}, NULL},
    {PATCH(WEIGHTS, 8, "X"), RESUME, 4, {"the header", "has another hash"}, NULL},
    {PATCH(WEIGHTS, 9, "X"), RESUME, 4, {"the header", "has another hash"}, NULL},
    {EDIT(WEIGHTS, "0,/\"F32\"/s//\"F99\"/"), RESUME, 4, {"the header", "has another hash"}, NULL},
    {EDIT(WEIGHTS, "0,/\"shape\":\\[[0-9]/s//\"shape\":[9/"),
     RESUME,
     4,
     {"the header", "has another hash"},
     NULL},
    {EDIT(WEIGHTS, "0,/\"data_offsets\":\\[0/s//\"data_offsets\":[8/"),
     RESUME,
     4,
     {"the header", "has another hash"},
     NULL},
    {EDIT(WEIGHTS, "0,/\"dtype\"/s//\"dtypo\"/"),
     RESUME,
     4,
     {"the header", "has another hash"},
     NULL},
    {FLIP(WEIGHTS, "$(($(stat -c %s $f) - 3))"),
     RESUME,
     4,
     {"is damaged: model.safetensors", "(tensor '"},
     NULL},
    {FLIP(WEIGHTS, "$(($(stat -c %s $f) - 3))"),
     "generate $C/run",
     4,
     {"is damaged: model.safetensors", "(tensor '"},
     NULL},
    {FLIP("run/$T/optimizer.safetensors", "9000"),
     "checkpoint verify $C/run",
     4,
     {"is damaged: optimizer.safetensors", "(tensor '"},
     NULL},
    {NULL, RESUME " model.width=8", 4, {"in the model, but the checkpoint has", "$T"}, NULL},
    {NULL, RESUME " model.kind=llama", 4, {"has no tensor", "which the model needs"}, NULL},
    {NULL, RESUME " optim.kind=lion precision=f16", 4, {"has no tensor"}, NULL},
    {NULL, "eval $C/run model.layers=2", 4, {"has no tensor"}, NULL},
    {NULL, "checkpoint hash $C", 3, {"holds no checkpoint"}, NULL},
};

static const fault_case run_cases[] = {
    {NULL,
     "train $S precision=f16 steps=60 optim.lr=1e6 optim.clip=0",
     7,
     {"step ", "lane", "is the first to make a non-finite value"},
     NULL},
    {NULL,
     RESUME " steps=40 optim.kind=sgd optim.lr=1e6 optim.clip=0 optim.warmup=0",
     7,
     {"step ", "lane ", "is the first to make a non-finite value"},
     NULL},
    {NULL,
     "train $S model.init_std=10 steps=40 model.width=64 optim.lr=1e6 optim.clip=0",
     7,
     {"step ", "op ", "lower learning rate"},
     NULL},
    {": >$C/file",
     "train $S out=$C/file/x",
     3,
     {"cannot make the folder", "case/file: a file has that name"},
     NULL},
    {": >$C/file", "train $S out=$C/file", 3, {"$C/file"}, NULL},
    {": >$C/file",
     "train $S data.cache=$C/file/x",
     3,
     {"cannot make the folder", "case/file: a file has that name"},
     NULL},
    {NULL,
     RESUME " >/dev/full",
     3,
     {"standard output could not be written", "No space left"},
     NULL},
    {"mkdir -p $C/run/step-000000003/lockstep.json",
     "eval $C/run/step-000000003",
     3,
     {"lockstep.json"},
     NULL},
};

static const char *expand(const char *part) {
    if (strcmp(part, "$T") == 0) return "step-000000002";
    if (strncmp(part, "$C", 2) == 0) return text_of("%s/case%s", run_folder(), part + 2);
    return part;
}

static int count_errors(const char *err) {
    int n = 0;
    for (const char *at = err; (at = strstr(at, "lockstep: error: ")) != NULL; at++) n++;
    return n;
}

static void run_shell(const char *command) {
    if (system(command) != 0) fail_msg("this failed: %s", command);
}

static void set_env(const char *assignment, int on) {
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(assignment, "="), assignment);
    if (on)
        setenv(name, strchr(assignment, '=') + 1, 1);
    else
        unsetenv(name);
}

/* NULL, or what is wrong with the answer. */
static const char *judge(const fault_case *c, const run_result *result) {
    if (result->exit_code != c->exit_code) return "another exit status";
    if (count_errors(result->err) != 1) return "not exactly one error line";
    if (strstr(result->err, "Sanitizer") || strstr(result->err, "runtime error"))
        return "a sanitizer's report";
    if (strstr(result->out, "weights sha256:")) return "a hash in spite of the failure";
    for (int i = 0; i < 3 && c->parts[i]; i++)
        if (!strstr(result->err, expand(c->parts[i])))
            return text_of("no \"%s\"", expand(c->parts[i]));
    return NULL;
}

static int n_cases, n_wrong;

static void check_cases(const fault_case *cases, size_t n) {
    n_wrong = 0;
    for (size_t i = 0; i < n; i++, n_cases++) {
        const fault_case *c = &cases[i];
        run_shell("rm -rf \"$C\" && cp -r \"$D/good\" \"$C\"");
        if (c->prepare) run_shell(c->prepare);
        if (c->env) set_env(c->env, 1);
        const run_result result = run_program(c->line);
        if (c->env) set_env(c->env, 0);
        const char *wrong = judge(c, &result);
        if (!wrong) continue;
        n_wrong++;
        print_message("case %s [%s]: %s; exit %d, wanted %d\n  err: %s\n", c->line,
                      c->prepare ? c->prepare : "", wrong, result.exit_code, c->exit_code,
                      result.err);
    }
    /* What was there before is whole. */
    assert_int_equal(run_program("checkpoint verify $D/good/run").exit_code, 0);
    if (n_wrong) fail_msg("%d of %d cases", n_wrong, (int)n);
}

#define CHECK_ALL(name)                                                          \
    static void test_##name(void **state) {                                      \
        (void)state;                                                             \
        check_cases(name##_cases, sizeof name##_cases / sizeof name##_cases[0]); \
    }
CHECK_ALL(config)
CHECK_ALL(word)
CHECK_ALL(data)
CHECK_ALL(checkpoint)
CHECK_ALL(run)

static void test_there_are_many(void **state) {
    (void)state;
    print_message("%d cases\n", n_cases);
    assert_true(n_cases >= 170);
}

/* The run of the case folder goes on until writes fail; its checkpoint stays and the run can go on later. */
static void check_interrupted_save(const char *line, const char *part) {
    const run_result result = run_program(line);
    if (result.exit_code != 3 || count_errors(result.err) != 1 || !strstr(result.err, part))
        fail_msg("%s: exit %d: %s", line, result.exit_code, result.err);
}

static void test_files_may_not_grow(void **state) {
    (void)state;
    run_shell("rm -rf \"$C\" && cp -r \"$D/good\" \"$C\"");
    struct rlimit limit, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = limit;
    small.rlim_cur = 8192;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    check_interrupted_save(RESUME " -q", "File too large");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_int_equal(run_program("checkpoint verify $C/run").exit_code, 0);
    assert_int_equal(run_program(RESUME " -q").exit_code, 0);
}

/* A disk of 256 KiB that fills up while checkpoints are kept. */
static void test_disk_full(void **state) {
    (void)state;
    run_shell("rm -rf \"$C\" && mkdir \"$C\"");
    const char *disk = text_of("%s/case", run_folder());
    if (mount("tmpfs", disk, "tmpfs", 0, "size=256k") != 0) {
        print_message("skipped: this process may not mount a small disk\n");
        skip();
    }
    run_shell("cp -r \"$D/good/run\" \"$C/run\"");
    const run_result full =
        run_program("resume $C/run out=$C/run steps=40 save_every=1 keep=40 -q");
    const run_result verify = run_program("checkpoint verify $C/run");
    const run_result again = run_program("resume $C/run out=$D/elsewhere steps=8 -q");
    assert_int_equal(umount(disk), 0);
    if (full.exit_code != 3 || !strstr(full.err, "No space left on device"))
        fail_msg("exit %d: %s", full.exit_code, full.err);
    assert_int_equal(verify.exit_code, 0);
    if (again.exit_code != 0) fail_msg("%s", again.err);
}

static int make_good_run(void **state) {
    make_run_folder(state);
    const char *folder = run_folder();
    setenv("D", folder, 1);
    setenv("C", text_of("%s/case", folder), 1);
    setenv("T", "step-000000002", 1);
    const char *settings =
        "configs/tiny.yaml steps=2 batch=4 lanes=2 threads=1 model.layers=1 model.width=16 "
        "model.heads=2 model.context=16 optim.warmup=0 data.tokenizer=byte tensorboard=false "
        "eval_windows=4 eval_every=0";
    setenv("S", text_of("%s out=%s/case/run data.cache=%s/case/cache", settings, folder, folder),
           1);
    const run_result result =
        run_program(text_of("train %s out=$D/good/run data.cache=$D/good/cache -q", settings));
    if (result.exit_code != 0) fail_msg("%s", result.err);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_word),
        cmocka_unit_test(test_data),
        cmocka_unit_test(test_checkpoint),
        cmocka_unit_test(test_run),
        cmocka_unit_test(test_there_are_many),
        cmocka_unit_test(test_files_may_not_grow),
        cmocka_unit_test(test_disk_full),
    };
    return cmocka_run_group_tests(tests, make_good_run, remove_run_folder);
}
