# The two commands of the README in a container, on a processor:
#   docker build --tag lookalike .
#   docker run --rm lookalike                    # make repro
#   docker run --rm lookalike make test
#   docker run --rm -it -v "$PWD/photos:/photos:ro" -p 8000:8000 lookalike bash    # your own images
FROM python:3.11-slim

# git and make for DVC and the commands; a browser and an emulator for the tests.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends chromium git make qemu-user \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /lookalike
COPY . .
# triton compiles for GPUs alone, and takes 1 GB; the CUDA libraries are loaded with torch and stay.
RUN make install && .venv/bin/uv pip uninstall --quiet --python .venv/bin/python triton
ENV PATH="/lookalike/.venv/bin:$PATH"

CMD ["make", "repro"]
