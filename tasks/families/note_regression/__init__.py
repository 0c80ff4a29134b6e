"""From a camera's pictures to note amplitudes: what the families of the marimba networks share.

Training sequences are drawn from every camera of the training takes. A window's stack are the pictures that the camera
showed at the window's frames, on the master's clock; its target are the amplitudes of that window.

Shapes: B batch, T windows of a sequence, C pictures of a stack, H rows, W columns, F windows of a take, n notes,
m of them.

Source:
    Deep Auditory Hallucinations (final code and poster). ``fidelity: original`` keeps what was measured there and is
    listed at `params.Fidelity`; all else that departs from it is a parameter.
"""
