# make demo: install, make a small street video, train TimeCycleGAN-P on it, measure, write a report
# make test: the fast tests;  make test-slow: the others;  make lint: ruff
PYTHON ?= python3
VENV ?= .venv
RUN := $(abspath $(VENV))/bin/python
SIZE := --image_height 64 --image_width 128

.PHONY: demo test test-slow lint install clean

install: $(VENV)/.installed

$(VENV)/.installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install -r requirements.txt
	$(RUN) -m pip install -e ".[dev]"
	touch $@

demo: install
	$(RUN) -m timecyclegan.data.generate_synthetic demo/street --sequences 12 --frames 20 --label_noise 1 \
	    --overwrite
	cd demo && $(RUN) ../trainval.py street street/train/source street/train/target \
	    street/val/source street/val/target $(SIZE) $(DEMO) --overwrite
	cd demo && $(RUN) ../val.py street street/val/source street/val/target -tie 1
	@echo "Validating once more, so that the report compares the end with epoch 1"
	cd demo && $(RUN) ../val.py street street/val/source street/val/target
	cd demo && $(RUN) -m timecyclegan.evaluation.report \
	    "after epoch 1"=results/street/epoch1/metrics.json "at the end"=results/street/metrics.json
	@echo "Open demo/results/street/report.html"

# Small and short enough for two CPU cores; a GPU and an evening deserve the defaults.
DEMO := --model_type timecycle --num_epochs 15 --generator_architecture resnet_3blocks --generator_filters 16 \
    --discriminator_filters 16 --timecycle_motion_model_filters 8 --l1_loss_weight 20 \
    --feature_matching_loss_weight 10 --timecycle_loss_weight 5 --no-timecycle_motion_model_residual --log_every 10

test: install
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto

test-slow: install
	$(RUN) -m pytest -m slow

lint: install
	$(RUN) -m ruff check .

clean:
	rm -rf demo .pytest_cache .ruff_cache build *.egg-info timecyclegan/models/networks/flownet2_pytorch/build
