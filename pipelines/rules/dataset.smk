rule survey:
    input:
        lambda w: known_inputs(ROWS[w.slide]),
    output:
        f"{OUT}/slides/{{slide}}/slide.json",
    log:
        f"{OUT}/logs/survey/{{slide}}.log",
    benchmark:
        f"{OUT}/benchmarks/survey/{{slide}}.tsv"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=20,
        disk_mb=50,
    params:
        state=lambda w: survey_params(ROWS[w.slide], RECIPE),
    message:
        "survey {wildcards.slide}"
    shell:
        "wsiprep survey {wildcards.slide:q} {COMMON} {STAGE} --log-format text 2> {log:q}"


checkpoint plan:
    input:
        expand(f"{OUT}/slides/{{slide}}/slide.json", slide=ROWS),
        lambda w: [TREE.exclusions] if TREE.exclusions.exists() else [],
        lambda w: target_inputs(RECIPE, RECIPE_PATH),
    output:
        table=f"{OUT}/plan.parquet",
        split=f"{OUT}/split.parquet",
        record=f"{OUT}/plan.json",
    log:
        f"{OUT}/logs/plan.log",
    benchmark:
        f"{OUT}/benchmarks/plan.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
        disk_mb=500,
    params:
        state=plan_params(ROWS.values(), RECIPE),
    message:
        "plan: keep rules and split over all slides"
    shell:
        "wsiprep plan {COMMON} --log-format text 2> {log:q}"


rule pack:
    # The slice is written by the checkpoint only where its bytes change; it is an input and nobody's output.
    input:
        f"{OUT}/plan/{{slide}}.parquet",
    output:
        f"{OUT}/receipts/{{slide}}.json",
    log:
        f"{OUT}/logs/pack/{{slide}}.log",
    benchmark:
        f"{OUT}/benchmarks/pack/{{slide}}.tsv"
    retries: 1
    threads: int(config["pack_threads"])
    resources:
        mem_mb=3000,
        runtime=60,
        disk_mb=4000,
    params:
        state=lambda w: f"{REVISION['pack']} {pack_digest(RECIPE.for_source(ROWS[w.slide].source))[:16]}",
    message:
        "pack {wildcards.slide}"
    shell:
        "wsiprep pack {wildcards.slide:q} {COMMON} {STAGE} --threads {threads} --log-format text 2> {log:q}"


rule seal:
    input:
        receipts_of_plan,
        split=f"{OUT}/split.parquet",
    output:
        record=f"{OUT}/dataset.json",
        index=f"{OUT}/index.parquet",
        slides=f"{OUT}/slides.parquet",
        card=f"{OUT}/README.md",
    log:
        f"{OUT}/logs/seal.log",
    benchmark:
        f"{OUT}/benchmarks/seal.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
        disk_mb=500,
    params:
        state=f"{REVISION['seal']} {recipe_digest(RECIPE)[:16]}",
    message:
        "seal {OUT}"
    shell:
        "wsiprep seal {OUT:q} {RECIPE_WORDS} --log-format text > {log:q} 2>&1"


rule report:
    input:
        f"{OUT}/dataset.json",
        lambda w: [f"{OUT}/benchmark.csv"] if run_names(RECIPE, config) else [],
    output:
        f"{OUT}/report/index.html",
    log:
        f"{OUT}/logs/report.log",
    benchmark:
        f"{OUT}/benchmarks/report.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=20,
        disk_mb=100,
    params:
        state=REVISION["report"],
    message:
        "report {OUT}"
    shell:
        "wsiprep report {OUT:q} --log-format text > {log:q} 2>&1"
