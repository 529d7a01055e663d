# Everything runs in an environment of its own, .venv, made from pyproject.toml by the first target that needs it.
#
#   make demo       run a real sweep and draw it           make lint    formatting and lint
#   make test       the fast tests                         make types   type check
#   make test-all   the slow ones too                      make bench   benchmarks
#   make figures    the figure of the README               make clean   remove what was made (distclean: .venv too)

STUDY := sweeps/itp-romiplostim-dose-response.toml
OUT := out/itp-romiplostim-dose-response
PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet
TJ := .venv/bin/thrombojax
PYTEST := $(PY) -m pytest -n auto --dist loadgroup

# Stamps: remade where pyproject.toml is newer, or the environment is gone.
USER_STAMP := .venv/.installed
DEV_STAMP := .venv/.installed-dev

.PHONY: demo test test-all lint types bench figures clean distclean
.DELETE_ON_ERROR:

demo: $(USER_STAMP)
	@mkdir -p out
	$(TJ) run $(STUDY) -o $(OUT).h5 --overwrite
	$(TJ) report $(OUT).h5 -o $(OUT).png >/dev/null
	@printf '\nresults: %s\nfigure:  %s\n' $(OUT).h5 $(OUT).png

test: $(DEV_STAMP)
	$(PYTEST) -m "not slow" --durations=40

test-all: $(DEV_STAMP)
	$(PYTEST)

lint: $(DEV_STAMP)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: $(DEV_STAMP)
	.venv/bin/mypy

bench: $(DEV_STAMP)
	$(PY) -m benchmarks

# The README's figure: that of `make demo` in 256 colours, a quarter of its bytes.
figures: demo
	@mkdir -p docs/figures
	$(PY) -c "from PIL import Image; \
	  Image.open('$(OUT).png').convert('RGB').quantize(256).save('docs/figures/itp-dose-response.png', optimize=True)"

clean:
	rm -rf out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv

# `python3` if its version is right, else another python3.x; PYTHON=... on the command line wins.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	  $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$p && break; done)

$(PY):
	@test -n "$(PYTHON)" || { echo "thrombojax needs Python 3.11, 3.12 or 3.13, and none is on the PATH" \
	  "(on Debian: apt-get install python3 python3-venv; another place: make PYTHON=/path/to/python3.12)" >&2; exit 1; }
	@echo "making .venv with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "$(PYTHON) cannot make environments" \
	  "(on Debian: apt-get install python3-venv)" >&2; exit 1; }

$(USER_STAMP): pyproject.toml | $(PY)
	@echo "installing thrombojax into .venv ..."
	@$(PIP) install -e '.[plots,xarray]'
	@touch $@

# Dependency groups came with pip 25.1.
$(DEV_STAMP): pyproject.toml | $(PY)
	@echo "installing thrombojax and its development tools into .venv ..."
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install -e . --group dev
	@touch $@ $(USER_STAMP)
