from pathlib import Path

from setuptools import find_packages, setup

root = Path(__file__).parent
requirements = [line for line in (root / "requirements.txt").read_text().splitlines() if line[:1] not in ("", "#")]

setup(
    name="timecyclegan",
    version="1.0.0",
    description="Temporally consistent video from any GAN",
    long_description=(root / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=find_packages(include=["timecyclegan", "timecyclegan.*"]),
    package_data={"timecyclegan.util": ["*.html", "*.css", "*.js"]},
    install_requires=requirements,
    extras_require={"dev": ["pytest>=8", "ruff>=0.15"]},
)
