import json
import shlex
from pathlib import Path

from wsiprep.artifacts import DatasetTree
from wsiprep.config import load_recipe, pack_digest, plan_digest, recipe_digest
from wsiprep.manifest import read_exclusions
from wsiprep.stages.revisions import REVISION
from wsiprep.stages.rows import rows_of
from wsiprep.stages.targets import target_inputs
from wsiprep.stages.workflow import (
    drop_broken_promises,
    known_inputs,
    overrides_of,
    plan_params,
    run_fold_option,
    run_names,
    run_seed,
    survey_params,
    training_params,
)

OUT = str(config["out"])
TREE = DatasetTree(Path(OUT))
SETS = overrides_of(config)
RECIPE_PATH = Path(config["recipe"])
RECIPE = load_recipe(RECIPE_PATH, SETS)
ROWS = {
    row.slide_id: row
    for row in rows_of(
        RECIPE, RECIPE_PATH, Path(config["manifest"]) if config["manifest"] else None
    )
}

# The same words for every command; not in `params`, because a moved folder must not redo anything.
COMMON = " ".join(
    ["--recipe", shlex.quote(str(RECIPE_PATH))]
    + (
        ["--manifest", shlex.quote(str(config["manifest"]))]
        if config["manifest"]
        else []
    )
    + [f"--set {shlex.quote(item)}" for item in SETS]
    + ["--out", shlex.quote(OUT)]
)


# Slides on slow storage are read from a copy; the command expands variables, on the machine that runs it.
STAGE = f"--stage {shlex.quote(str(config['stage']))}" if config["stage"] else ""


wildcard_constraints:
    slide=r"[a-z0-9][a-z0-9._-]{0,79}",


# A receipt whose shard is gone promises what is not there: without it, its slide is packed again.
if workflow.is_main_process:
    for slide_id in drop_broken_promises(TREE):
        logger.warning(f"{slide_id} has no whole shard: it will be packed again")


def receipts_of_plan(wildcards):
    """Receipts of the slides that the plan keeps something of."""
    record = checkpoints.plan.get(**wildcards).output.record
    kept = json.loads(Path(record).read_text())["kept_slides"]
    return [f"{OUT}/receipts/{slide_id}.json" for slide_id in kept]


# `seal` and `train` take the folder as their argument.
RECIPE_WORDS = COMMON.rsplit(" --out ", 1)[0]
TRAIN_WORDS = " ".join(
    ["--recipe", shlex.quote(str(RECIPE_PATH))]
    + [f"--set {shlex.quote(item)}" for item in SETS]
)
