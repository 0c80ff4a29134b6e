"""From small pictures to frames of sound: what these families share.

The sound of one frame is regressed on the picture that is shown in the frame's middle, scaled to a small square, with
or without the pictures before it. Any capture serves, whatever is played in it.

Two fidelities. ``original`` keeps the published habits: pictures are numbered and never timed (each is taken to last a
thirtieth of a second), sound is stored as (x + 32768) / 65536 and the last frame is filled up with 0, full negative.
``corrected`` goes by time: frame k of the sound stands from k to k + 1 frames, exactly, and shows the picture that is
up then; silence is 0; half a minute each of silent black and white pictures is in the training data; and an even
picture is silent by construction: each picture's mean luma is subtracted, and from each output that of an even picture.

What generalizes to other cameras and takes is how much moves and where, not which way it moves nor whether it is bright
or dark. So changes enter without their sign, and all inputs are squashed: a mallet near the lens moves more pixels than
any in training. Regression makes levels too even: they are spread again before the sound is made, and no magnitude
exceeds the largest of training: see `calibration.fit_ratio`.

Captures are stored as luma, so there is no colour here.

Shapes: P pictures, S pixels of a side, F frames, C pictures of a frame (its own and the past ones), I inputs of the
network, L samples of a frame, K bins of a spectrum.
"""
