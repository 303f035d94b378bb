"""Whole runs on a GPU, captured or not; needs CUDA, run with ``pytest -m gpu`` (see ``tests.gpu``)."""
import pytest
import torch

from tests.gpu import CUDA, DEVICE, exactly, reading_nothing
from tests.recorder import recorder
from tests.training.helpers import (
    assert_same_run,
    killed,
    latest,
    losses,
    same,
    small,
    train,
    trainer,
    weights,
    write_data,
)
from timecyclegan.models import get_task
from timecyclegan.training import loop
from timecyclegan.training import run as run_module
from timecyclegan.util.cuda_graph import WARM_UPS, CapturedFunction

pytestmark = pytest.mark.gpu
GPU = 0 if CUDA else -1
KINDS = [("timecycle", "off"), ("timecycle", "bfloat16"), ("timecycle", "float16"), ("tricyclegan", "off"),
         ("timecycledcgan", "off")]  # fmt: skip


@pytest.fixture(autouse=True)
def recorded(monkeypatch):
    """Of every recorded step, the size of its batch. All is exact; in a rehearsal a recorder stands in for graphs."""
    sizes, record = [], CapturedFunction._record

    def counted(self, args, kwargs):
        made = record(self, args, kwargs)
        sizes.append(tuple(kwargs["target"].shape))
        return made

    monkeypatch.setattr(CapturedFunction, "_record", counted)
    if not CUDA:
        monkeypatch.setattr(run_module, "capture", lambda step, device, what, wanted, *_: step if wanted == "off" else
                            CapturedFunction(step, device, what, recorder))  # fmt: skip
        monkeypatch.setattr(loop, "learning_rate", lambda *_: 1e-3)  # on a CPU a number, which is recorded
    with exactly():
        yield sizes


@pytest.fixture(scope="module")
def data_of(tmp_path_factory):
    """By task; an odd number of clips, so that the last batch of an epoch is smaller."""
    paired = write_data(tmp_path_factory.mktemp("data"), lengths=(8, 8, 8, 8, 8))
    return {"paired": paired, "unpaired": paired, "unconditional": (None, paired[1])}


def options(model_type, amp="off", **changes):
    return small(model_type, amp=amp, gpu=GPU, batch_size=2, **{"num_epochs": 3, **changes})


@pytest.mark.parametrize(("model_type", "amp"), KINDS)
def test_a_captured_run_is_the_eager_one(data_of, model_type, amp, recorded):
    """Growing, with pictures of every 7th step and a learning rate that falls."""
    growing = {"spatial_scaling": (0.5, 1.0)} if model_type != "timecycledcgan" else {}
    data = data_of[get_task(model_type)]
    given = options(model_type, amp, log_images_every=7, num_epochs=8, **growing)
    assert train(data, "eager", **{**given, "cuda_graph": "off"}) and not recorded
    assert train(data, "captured", **{**given, "cuda_graph": "on" if CUDA else "auto"})
    assert len(recorded) >= (2 if growing else 1) and len(set(recorded)) >= len(growing) + 1, recorded
    assert losses("captured") == losses("eager")
    assert weights("captured") == weights("eager")
    assert same(latest("captured")["optimizers"], latest("eager")["optimizers"])


@pytest.mark.parametrize("graph", ["off", "auto"])
@pytest.mark.parametrize(("model_type", "amp"), KINDS)
def test_a_killed_run_goes_on_exactly(data_of, monkeypatch, model_type, amp, graph, recorded):
    data = data_of[get_task(model_type)]
    given = options(model_type, amp, save_minutes=0.0, cuda_graph=graph, num_epochs=4)
    train(data, "whole", **given)
    killed(monkeypatch, data, 7, "train_on", **given)
    assert latest("run")["position"]["step"] == 6
    train(data, resume=True, **given)
    assert_same_run("whole", "run")
    assert bool(recorded) == (graph == "auto")


@pytest.mark.parametrize("model_type", ["timecycle", "tricyclegan", "timecycledcgan"])
def test_checkpoints_go_to_the_cpu_and_back(data_of, model_type):
    data, given = data_of[get_task(model_type)], options(model_type)
    assert train(data, **given)
    for gpu, epochs in ((-1, 5), (GPU, 7)):
        before = latest("run")
        run = trainer(data, resume=True, **{**given, "gpu": gpu, "num_epochs": epochs})
        assert run.device == (DEVICE if gpu == GPU else torch.device("cpu"))
        for name, network in run.model.networks().items():
            state = {key: value.cpu() for key, value in network.state_dict().items()}
            assert same(state, dict(before["networks"][name])), name
        for role, optimizer in run.model.optimizers.items():
            for number, state in optimizer.state_dict()["state"].items():
                assert state["exp_avg"].device == run.device
                found = {key: value.cpu() for key, value in state.items()}
                assert same(found, before["optimizers"][role]["state"][number])
        assert train(data, resume=True, **{**given, "gpu": gpu, "num_epochs": epochs})
        assert latest("run")["position"]["epoch"] == epochs


@pytest.mark.parametrize(("model_type", "amp"), KINDS)
def test_a_step_of_a_run_waits_for_nothing(data_of, model_type, amp, recorded):
    run = trainer(data_of[get_task(model_type)], **options(model_type, amp))
    whole, *_, smaller = run.loader
    assert (len(whole["target"]), len(smaller["target"])) == (2, 1)

    def train_on(batch):
        run.position.batch = 0 if batch is whole else len(run.loader) - 1
        run.means.add(run.train_on(batch))

    for batch in [whole] * (WARM_UPS + 1) + [smaller]:
        train_on(batch)
    assert len(recorded) == 1
    with reading_nothing():
        train_on(whole)
        train_on(smaller)
        run.means.glance()
    assert run.means.values()["Generator/total"]
