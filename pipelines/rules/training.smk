rule train:
    input:
        f"{OUT}/dataset.json",
    output:
        f"{OUT}/runs/{{model}}/{{run}}/run.json",
    log:
        f"{OUT}/logs/train/{{model}}-{{run}}.log",
    benchmark:
        f"{OUT}/benchmarks/train/{{model}}-{{run}}.tsv"
    wildcard_constraints:
        model=r"[a-z0-9_]+",
        run=r"seed\d+(-fold\d+)?",
    retries: 0
    threads: int(config["train_threads"]) or workflow.cores or 1
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=1440,
        disk_mb=2000,
    params:
        state=lambda w: training_params(RECIPE, w.model, w.run),
        seed=lambda w: run_seed(w.run),
        fold=lambda w: run_fold_option(w.run),
    message:
        "train {wildcards.model} {wildcards.run}"
    shell:
        "wsiprep train {OUT:q} --model {wildcards.model} --seed {params.seed} {params.fold} {TRAIN_WORDS} "
        "--resume same --log-format text > {log:q} 2>&1"


rule benchmark_table:
    input:
        [f"{OUT}/runs/{name}/run.json" for name in run_names(RECIPE, config)],
        dataset=f"{OUT}/dataset.json",
    output:
        table=f"{OUT}/benchmark.csv",
        page=f"{OUT}/benchmark.html",
    log:
        f"{OUT}/logs/benchmark.log",
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
        disk_mb=100,
    params:
        state=REVISION["benchmark"],
    message:
        "benchmark table of {OUT}"
    shell:
        "wsiprep benchmark {OUT:q} --log-format text > {log:q} 2>&1"
