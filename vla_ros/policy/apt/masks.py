"""Who may attend whom: APT's masks M and M' (authors' code; "block-wise causal" in the paper).

M: every token attends all valid vision-language tokens, and action tokens all action tokens too;
vision-language tokens never attend actions. M' is M without vision to language, action to
language and language to vision: language is isolated. So no vision-language token depends on the
noisy actions or the diffusion step, and its keys and values serve all denoising steps.

Legend: B batch, L vision-language tokens, A action tokens.
"""

import torch
from torch import Tensor


def attention_mask(
    is_image: Tensor, is_valid: Tensor, is_action_valid: Tensor, sees_language: bool
) -> Tensor:
    """Return (B, L + A, L + A) bool, True where the token of a row attends that of a column.

    Every token attends itself, even an invalid one, so that no row is empty; nobody else attends
    an invalid token.

    Args:
        is_image: (B, L) bool; all other vision-language tokens are language.
        is_valid: (B, L) bool.
        is_action_valid: (B, A) bool.
        sees_language: M if True, M' if False.
    """
    no_action = torch.zeros_like(is_action_valid)
    valid = torch.cat([is_valid, is_action_valid], 1)
    action = torch.cat([torch.zeros_like(is_image), ~no_action], 1)
    allowed = valid[:, None, :] & (action[:, :, None] | ~action[:, None, :])
    if not sees_language:
        language = torch.cat([~is_image, no_action], 1)
        allowed &= language[:, :, None] == language[:, None, :]
    return allowed | torch.eye(valid.shape[1], dtype=torch.bool, device=valid.device)
