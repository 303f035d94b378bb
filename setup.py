import re
from pathlib import Path

from setuptools import find_packages, setup

root = Path(__file__).parent
# Read, not imported: what the package needs may not be installed yet.
package = (root / "timecyclegan/__init__.py").read_text()
version = re.search(r'^__version__ = "(.+)"$', package, re.MULTILINE)[1]
requirements = [line for line in (root / "requirements.txt").read_text().splitlines() if line[:1] not in ("", "#")]
# The newest simulator; its package exists for few machines.
CARLA = 'carla>=0.9.16; sys_platform == "linux" and platform_machine == "x86_64" and python_version < "3.13"'

# What writes exported models, and what runs them.
EXPORT = ["onnx>=1.18", "onnxscript>=0.5", "onnxruntime>=1.22"]

setup(
    name="timecyclegan",
    version=version,
    description="Temporally consistent video from any GAN",
    long_description=(root / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=find_packages(include=["timecyclegan", "timecyclegan.*"]),
    package_data={
        "timecyclegan.report": ["*.html"],
        "timecyclegan.models.networks.flownet2_pytorch": ["install.sh", "ops/csrc/*"],
    },
    install_requires=requirements,
    extras_require={
        "carla": [CARLA],
        "dev": ["pytest>=8", "pytest-xdist>=3.6", "ruff>=0.15", "torchmetrics>=1.9", *EXPORT, CARLA],
        "export": EXPORT,
    },
)
