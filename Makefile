# make demo: install, make small street videos and worn film of them, train vid2vid with TimeCycle to restore it, and
# pix2pix beside it, measure, write a report
# make test: the fast tests;  make test-slow: the others;  make lint: ruff
PYTHON ?= python3
VENV ?= .venv
RUN := $(abspath $(VENV))/bin/python

.PHONY: demo test test-slow lint install clean

install: $(VENV)/.installed

$(VENV)/.installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install -r requirements.txt
	$(RUN) -m pip install -e ".[dev]"
	touch $@

demo: install
	$(RUN) -m timecyclegan.data.generate_synthetic demo/street --film --sequences 12 --frames 20 --overwrite
	@echo "Training TimeCycle on vid2vid, and for as long, at the same time, pix2pix (it reports to demo/pix2pix.txt)"
	cd demo && export OMP_NUM_THREADS=$(HALF) && { \
	    $(RUN) ../train.py pix2pix street/train/source street/train/target $(BOTH) $(PIX2PIX) > pix2pix.txt 2>&1 & \
	    beside=$$!; \
	    $(RUN) ../train.py timecycle street/train/source street/train/target $(BOTH) $(TIMECYCLE) || \
	        { kill $$beside; exit 1; }; \
	    wait $$beside || { tail -n 3 pix2pix.txt; exit 1; }; }
	cd demo && $(RUN) ../val.py pix2pix street/val/source street/val/target
	cd demo && $(RUN) ../val.py timecycle street/val/source street/val/target --beside pix2pix
	cd demo && $(RUN) -m timecyclegan.evaluation.report \
	    "pix2pix, per frame"=results/pix2pix/metrics.json "vid2vid + TimeCycle"=results/timecycle/metrics.json
	@echo "Open demo/results/timecycle/report.html"

# Small and short enough for two CPU cores, one for each; a GPU and an evening deserve the defaults.
HALF := $(shell expr \( $$(getconf _NPROCESSORS_ONLN) + 1 \) / 2)
BOTH := --image_height 64 --image_width 128 --generator_architecture resnet_3blocks --generator_filters 16 \
    --discriminator_filters 16 --upsample resize --l1_loss_weight 60 --feature_matching_loss_weight 10 \
    --learning_rate 0.001 --log_every 10 --overwrite
PIX2PIX := --model_type pix2pix --num_epochs 21 --spatial_scaling 0.5 1
TIMECYCLE := --model_type timecyclevid2vid --num_epochs 12 --spatial_scaling 0.5 --temporal_scaling 0.2 1 --no-grow_batch \
    --timecycle_motion_model_filters 8 --timecycle_loss_weight 10 --timecycle_sharpness 1 \
    --no-timecycle_motion_model_residual --flow_loss_weight 1 --mask_loss_weight 1 --warp_loss_weight 5 \
    --flow_backend farneback --flow_cache flow

test: install
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto

test-slow: install
	$(RUN) -m pytest -m slow

lint: install
	$(RUN) -m ruff check .

clean:
	rm -rf demo .pytest_cache .ruff_cache build *.egg-info timecyclegan/models/networks/flownet2_pytorch/build
