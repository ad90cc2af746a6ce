"""One library that normalises pictures, in a process of its own that stays warm. Spoken to by ``stain_peers.py``.

Arguments: library, method, the target's .npy. Each line on stdin is a picture's .npy (uint8 RGB); each line on stdout
the CPU and wall seconds of fitting and mapping it, and the largest resident memory so far in MB; first "ready".
Imports nothing but the library and numpy: it runs in the peers' environments.
"""

import json
import resource
import sys
import time

import numpy as np


def staintools(method, target):
    import staintools as library

    tool = library.ReinhardColorNormalizer() if method == "reinhard" else library.StainNormalizer(method)
    tool.fit(target.copy())
    return tool.transform


def torchstain_numpy(_method, target):
    import torchstain

    tool = torchstain.normalizers.MacenkoNormalizer(backend="numpy")
    tool.fit(target)
    return lambda rgb: tool.normalize(I=rgb, stains=False)[0]


def torchstain_torch(_method, target):
    import torch
    import torchstain

    torch.set_num_threads(1)

    def tensor(rgb):
        return torch.from_numpy(rgb.transpose(2, 0, 1).astype(np.float32))

    tool = torchstain.normalizers.MacenkoNormalizer(backend="torch")
    tool.fit(tensor(target))
    return lambda rgb: tool.normalize(I=tensor(rgb), stains=False)[0].numpy().astype(np.uint8)


def wsiprep(way):
    def made(method, target):
        from wsiprep.stain import fit, fit_patch, histogram, normaliser

        look = fit(histogram(target), method, 1000)

        def work(rgb):
            own = fit_patch(rgb, method, look, 1000)
            assert own.origin == "patch", own.status
            return normaliser(own, look, method=method, way=way)(rgb)

        return work

    return made


LIBRARIES = {
    "staintools": staintools,
    "torchstain numpy": torchstain_numpy,
    "torchstain torch": torchstain_torch,
    "wsiprep fused": wsiprep("fused"),
    "wsiprep numpy": wsiprep("plain"),
}


def main():
    library, method, target = sys.argv[1:]
    work = LIBRARIES[library](method, np.load(target))
    print("ready", flush=True)
    for line in sys.stdin:
        rgb = np.load(line.strip())
        wall, cpu = time.perf_counter(), time.process_time()
        found = work(rgb)
        taken = [time.process_time() - cpu, time.perf_counter() - wall]
        assert found.shape == rgb.shape
        assert found.dtype == np.uint8
        print(json.dumps([*taken, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000]), flush=True)


if __name__ == "__main__":
    main()
