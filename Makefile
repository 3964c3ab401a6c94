# make demo    set up, then run the whole loop
# make test    set up, then run every test
# make setup   only set up; after it, `source activate.sh` gives a shell with ros2
# make lint | bench | clean
SHELL := /bin/bash
.PHONY: demo test lint bench setup clean

# One domain a run, so that two runs on one machine do not meet. Above 101 the ports would collide with others.
ENTER := . ./activate.sh && export ROS_DOMAIN_ID=$${ROS_DOMAIN_ID:-$$(( $$$$ % 101 + 1 ))} &&

demo: setup
	@$(ENTER) exec python demo/run.py

test: setup
	@$(ENTER) exec test/run.sh

lint: setup
	@$(ENTER) ruff check . && ruff format --check . && pyright

# One area with `make bench AREA=sim`, otherwise every one in turn.
AREA ?= $(filter-out __init__ _%,$(basename $(notdir $(wildcard bench/*.py))))
bench: setup
	@$(ENTER) for area in $(AREA); do python -m bench.$$area || exit; done

setup:
	@pip_ros/setup.sh

# What make made; recordings and the demo's results stay.
clean:
	rm -rf .venv build install log dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
