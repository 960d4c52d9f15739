# Everything starts from a bare machine with Python 3.11 or newer and make: each target makes .venv first when it is missing.
#   make sweep                            the central experiment on the embedded data; P="-p dataset hflights ..." passes parameters on
#   make test                             every notebook as a test, then the tests that cross notebooks
#   make sweep TORCH=cu130                the same on a GPU: TORCH names the PyTorch wheel index (cpu, cu126, cu130, ...)
PYTHON ?= python3
VENV   ?= .venv
TORCH  ?= cpu
BIN     = $(VENV)/bin
OUT    ?= runs
CONSTRAINTS ?= -c constraints.txt
TORCH_VERSION = $(shell sed -n 's/^torch==//p' constraints.txt)
# the sweep's size in `make sweep`: the smoke defaults of the notebook are smaller
SWEEP = -y '{models: [DCNv2, DNN, NFwFM], designs: [SE, ME], scales: [1, 2, 4], seeds: 3, rows: 0, max_epochs: 0}'

$(VENV)/ok: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python %d.%d was found and 3.11 or newer is needed: make PYTHON=python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	-$(BIN)/python -m pip install -q --no-deps --retries 0 --timeout 15 --index-url https://download.pytorch.org/whl/$(TORCH) torch==$(TORCH_VERSION)
	$(BIN)/python -m pip install -q $(CONSTRAINTS) -e ".[lab,dev]"
	touch $@

sweep: $(VENV)/ok
	mkdir -p $(OUT)
	$(BIN)/papermill nbs/06_scaling.ipynb $(OUT)/06_scaling.ipynb $(if $(P),$(P),$(SWEEP))
test: $(VENV)/ok
	VENV=$(VENV) $(BIN)/python tests/run.py
lab: $(VENV)/ok
	$(BIN)/jupyter lab nbs
readme: $(VENV)/ok
	$(BIN)/python docs/readme.py
bench: $(VENV)/ok
	mkdir -p $(OUT)
	$(BIN)/papermill nbs/08_benchmarks.ipynb $(OUT)/08_benchmarks.ipynb $(P)
clean:
	rm -rf $(VENV) _proc _site build
.PHONY: sweep test lab readme bench clean
