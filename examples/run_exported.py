"""A video through an exported model, without PyTorch or our package: python run_exported.py MODEL.onnx IN OUT [SEED]"""
import collections
import itertools
import json
import sys

import av
import numpy as np
import onnxruntime


def windows(frames, context):
    """Each frame amid ``context`` others on either side; the first and the last one stand for those beyond."""
    window = collections.deque(maxlen=2 * context + 1)
    for frame in itertools.chain(frames, [None] * context):
        window.extend([window[-1] if frame is None else frame] * (1 if window else context + 1))
        if len(window) == window.maxlen:
            yield np.stack(window)


model, video, output, *seed = sys.argv[1:] if len(sys.argv) in (4, 5) else sys.exit(__doc__)
session, random = onnxruntime.InferenceSession(model), np.random.default_rng(int(seed[0]) if seed else 0)
facts = json.loads(session.get_modelmeta().custom_metadata_map["timecyclegan"])
if facts.get("prepare_video"):
    print(f"note: this model translates from {facts['prepare_video']['source']}, which IN must show")
sides = {"batch": 1, "height": facts["size"][0], "width": facts["size"][1]}  # those that it was trained at
shapes = {name: [sides.get(side, side) for side in shape] for name, shape in facts["inputs"].items()}
scaling = "POINT" if facts["source_pixels"] == "labels" else "AREA"
with av.open(video) as reader, av.open(output, "w") as writer:
    source, given = reader.streams.video[0], {}
    size = {"width": source.width // 2 * 2, "height": source.height // 2 * 2}  # most codecs want them even
    made = writer.add_stream(writer.default_video_codec, source.average_rate, pix_fmt="yuv420p", **size)
    frames = (frame.to_ndarray(format="rgb24", width=sides["width"], height=sides["height"], interpolation=scaling)
              for frame in reader.decode(source))  # fmt: skip
    for window in windows(frames, facts["context"]):
        given |= {"source": window.transpose(0, 3, 1, 2)[None].astype(np.float32) / 127.5 - 1}
        given |= {name: random.standard_normal(shapes[name], np.float32) for name in shapes if name not in given}
        frame, *state = session.run(None, {name: given[name] for name in shapes})
        given = {"state": state[0]} if state else {}  # noise stands before the first frame; a code is always new
        picture = np.rint((frame[0].transpose(1, 2, 0) + 1) * 127.5).clip(0, 255).astype(np.uint8)
        writer.mux(made.encode(av.VideoFrame.from_ndarray(picture, "rgb24").reformat(**size, format="yuv420p")))
    writer.mux(made.encode())
