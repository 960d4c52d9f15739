# Everything starts from a bare machine with Python 3.11 or newer and make: each target makes .venv first when it is missing.
#   make sweep                            the central experiment on the embedded data; P="-p dataset hflights ..." passes parameters on
#   make test                             every notebook as a test, then the tests that cross notebooks
#   make test BROWSER=1                   and the site and JupyterLab in a headless Chromium
#   make results                          the full runs behind every figure and verdict, made or resumed: hours on two cores
#   make verdicts                         judges the stored rows of data/results again, without training
#   make figures                          redraws figures/ from data/results
#   make site                             the documentation, into _site/html, with nothing from the network
#   make chaos KILLS=200 SEED=0           ends a sweep at random instants, again and again: its end is that of an undisturbed one
#   make lab                              JupyterLab on the list of notebooks; P="--no-browser --port 8889 ..." passes options on
#   make sweep TORCH=cu130                the same on a GPU: TORCH names the PyTorch wheel index (cpu, cu126, cu130, ...);
#                                         once given it is remembered, and another one replaces the build of torch
PYTHON ?= python3
VENV   ?= .venv
# $(VENV)/ok holds the index of the torch that is there
HAVE   := $(shell cat $(VENV)/ok 2>/dev/null)
TORCH  ?= $(or $(HAVE),cpu)
BIN     = $(VENV)/bin
OUT    ?= runs
CONSTRAINTS ?= -c constraints.txt
TORCH_VERSION = $(shell sed -n 's/^torch==//p' constraints.txt)
# the sweep's size in `make sweep`: two epochs, so that it takes minutes; a study leaves max_epochs to early stopping
SWEEP = -y '{models: [DCNv2, DNN, NFwFM], scales: [1, 4], seeds: 3, max_epochs: 2, control_scale: 0, engine: $(if $(filter cpu,$(TORCH)),processes,local)}'
# all six models, at the base and four times it
BENCH = -p auc_seeds 5 -y '{models: [DNN, IPNN, NFwFM, xDeepFM, DCNv2, FinalMLP], scales: [1, 4], repeats: 21, rows: 81920, epochs: 2}'
# the encoder's race, and the one with other libraries; PEERS=... names the Python of an environment of its own that has them, as
# pip install 'fuxictr>=2.3.10' 'deepctr-torch>=0.3' 'polars<2' makes it (the extra `bench`); without it they are left out
FUXICTR ?= $(PEERS)
ENCODING = -p rows 2000000 -y '{curve: [500000, 2000000, 5000000, 10000000]}' $(if $(FUXICTR),-p fuxictr $(FUXICTR))
EPOCH = -p rows 61440 -p repeats 3 -y '{models: [DNN, IPNN, xDeepFM, DCNv2, FinalMLP], scales: [1, 4]}' $(if $(PEERS),-p peers $(PEERS))
# diagnosis of 10 GB in each of two files, for which the temporary folder (TMPDIR) needs 22 GB free; WEIGHTWATCHER=... names the Python
# of an environment of its own, as pip install weightwatcher==0.7.7 safetensors==0.8.0 makes it; without it WeightWatcher is left out
DIAGNOSIS = -p gigabytes 10 -p repeats 5 -y '{scales: [1, 4]}' $(if $(WEIGHTWATCHER),-p weightwatcher $(WEIGHTWATCHER))
# the training step; FBGEMM=... names a folder made by pip install --no-deps --target FOLDER fbgemm-gpu-cpu==1.8.0; without it FBGEMM
# is left out
STEP = -p pairs 21 -p dim 40 $(if $(FBGEMM),-p fbgemm $(FBGEMM)) -y '{models: [DNN, IPNN, NFwFM, xDeepFM, DCNv2, FinalMLP], scales: [1, 4]}'
# torch asks for huge pages: large activations come and go in every step, and mapping them 4 KB at a time costs a fifth of it
export THP_MEM_ALLOC_ENABLE ?= 1

ifneq ($(HAVE),$(TORCH))
.PHONY: $(VENV)/ok
endif
# torch comes first and alone, out of PyTorch's own index, where the CPU build is a tenth of the default one's size
$(VENV)/ok: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python %d.%d was found and 3.11 or newer is needed: make PYTHON=python3.11" % sys.version_info[:2])'
	@echo "Setting up $(VENV): a minute or two, and 2 GB on disk"
	@$(PYTHON) -m venv $(VENV)
	@$(if $(filter-out $(TORCH),$(HAVE)),rm $@; $(BIN)/python -m pip uninstall -q -y torch)
	@$(BIN)/python -m pip install -qq --no-deps --retries 1 --timeout 15 --index-url https://download.pytorch.org/whl/$(TORCH) \
	  torch==$(TORCH_VERSION) 2>/dev/null || echo "No torch $(TORCH_VERSION) came from PyTorch's $(TORCH) index: pip takes its default build, which on Linux brings several GB of CUDA"
	@$(BIN)/python -m pip install -qq $(CONSTRAINTS) -e ".[lab,dev,site,export,cluster,trackers]"
	@$(BIN)/python -m pip install -qq $(CONSTRAINTS) --no-deps cffconvert # a test reads its schema; the rest wants an older jsonschema
	@echo $(TORCH) > $@

sweep: $(VENV)/ok
	mkdir -p $(OUT)
	$(BIN)/papermill --log-output --no-progress-bar nbs/06_scaling.ipynb $(OUT)/06_scaling.ipynb $(if $(P),$(P),$(SWEEP))
test: $(VENV)/ok
	$(BIN)/python tests/run.py $(if $(BROWSER),--browser)
# public tables of notebooks 00 to 06; a file that is not there is left out
HFLIGHTS ?= data/raw/hflights.csv.gz
DIABETES ?= data/raw/diabetic_data.csv.gz
results: $(VENV)/ok
	$(BIN)/python docs/results.py --file hflights=$(HFLIGHTS) --file diabetes130=$(DIABETES) $(P)
	$(BIN)/python docs/figures.py
verdicts: $(VENV)/ok
	$(BIN)/python docs/verdicts.py $(P)
figures: $(VENV)/ok
	$(BIN)/python docs/figures.py
site: $(VENV)/ok
	PYTHONPATH=docs $(BIN)/python -m website
# the settings of docs/lab come before the user's own, and .venv's kernel before one of the same name elsewhere
LAB = JUPYTER_CONFIG_PATH="$(CURDIR)/docs/lab$${JUPYTER_CONFIG_PATH:+:$$JUPYTER_CONFIG_PATH}" JUPYTER_PREFER_ENV_PATH=1
lab: $(VENV)/ok
	$(LAB) $(BIN)/jupyter lab $(P)
readme: $(VENV)/ok
	$(BIN)/python docs/readme.py
# a notebook that is done leaves a mark of its commit and parameters, so that a run that was ended goes on; 08 does so within itself
CODE := $(shell git rev-parse --short HEAD 2>/dev/null)
define bench_once
@mark="$(OUT)/.$(1)-$$(printf '%s' '$(subst ',,$(CODE) $(3))' | cksum | tr ' ' -)"; if [ -e "$$mark" ]; then echo "$(1) is done"; else \
  $(BIN)/papermill --log-output --no-progress-bar nbs/$(2).ipynb $(OUT)/$(1).ipynb $(3) && touch "$$mark"; fi
endef
bench: $(VENV)/ok
	mkdir -p $(OUT)
	$(call bench_once,09_encoding_benchmarks,09_encoding_benchmarks,$(ENCODING))
	$(call bench_once,10_peer_benchmarks,10_peer_benchmarks,$(EPOCH))
	$(call bench_once,08_benchmarks,08_benchmarks,$(if $(P),$(P),$(BENCH)))
	$(call bench_once,13_diagnosis_benchmarks,13_diagnosis_benchmarks,$(DIAGNOSIS))
	$(call bench_once,14_step_benchmarks-1,14_step_benchmarks,-p threads 1 $(STEP))
	$(call bench_once,14_step_benchmarks-2,14_step_benchmarks,-p threads 2 $(STEP))
	rm -f $(OUT)/.*_benchmarks*
KILLS ?= 200
SEED  ?= 0
chaos: $(VENV)/ok
	OMP_NUM_THREADS=1 $(BIN)/python tests/chaos.py --kills $(KILLS) --seed $(SEED) --out $(OUT)/chaos.csv $(P)
distclean:
	rm -rf $(VENV) _proc _site build
.PHONY: sweep test results verdicts site lab figures readme bench chaos distclean
