"""The stages, one file each: `run(input paths…, output paths…, params)` beside its `Params`.

A stage never imports another stage: they meet through files.
"""
