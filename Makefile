# `make repro` and `make test` are all that a new checkout needs: both set it up first.
.PHONY: setup repro test lint bench
.DEFAULT_GOAL := repro
SHELL := /bin/sh
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DVC_NO_ANALYTICS := 1

setup:
	@./setup.sh

repro: setup
	dvc repro
	audiate timings

test: setup
	@./setup.sh browser docs
	timeout --signal=INT --kill-after=60 35m python -m pytest -q -n 2 --dist loadscope --durations=10 -m "not slow"
	timeout --signal=INT --kill-after=60 50m python -m pytest -q -n 2 --dist loadscope --durations=10 -m slow

lint: setup
	ruff check .
	ruff format --check .
	mypy
	lint-imports

bench: setup
	python -m benchmarks
