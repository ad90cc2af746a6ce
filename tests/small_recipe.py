"""The recipe of the small synthetic cohort."""

SMALL_RECIPE = """\
name: small
synthetic: true
licence: CC0-1.0
labels: [tumour]
downsample: 4
expect_um: [0.25]
annotations:
  groups: {Tumor: tumour, Exclusion: background}
sampling: {patch_size_px: 64, tumour_free_per_slide: 2}
keep:
  rules:
    - {labels: [tumour], min: 0.05, max: 0.995}
split: {by: patient, ratio: {train: 1, test: 1}}
store: {patches_per_shard_file: 8}
manifest: slides/manifest.csv
"""
