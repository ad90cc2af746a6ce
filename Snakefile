# wsiprep's workflow: slides and annotations in, a sealed dataset, its report and its benchmark out.
#
#   snakemake --cores 32 --config recipe=manifests/demo.yaml out=dataset
#
# docs/workflow.md is the manual. The rules are thin: every job is one `wsiprep` command.


configfile: workflow.source_path("pipelines/config/config.yaml")


include: "pipelines/rules/common.smk"
include: "pipelines/rules/dataset.smk"
include: "pipelines/rules/training.smk"


rule all:
    default_target: True
    input:
        f"{OUT}/dataset.json",
        f"{OUT}/report/index.html",


rule dataset:
    input:
        f"{OUT}/dataset.json",


rule benchmark:
    input:
        f"{OUT}/benchmark.csv",
        f"{OUT}/report/index.html",
