"""The architecture of a timm VisionTransformer, read off its modules; what has no value here is refused by name."""

from __future__ import annotations

from typing import Any, Literal

from timm.layers.activations import GELU, GELUTanh, QuickGELU
from timm.layers.attention import Attention as TimmAttention
from timm.layers.mlp import Mlp
from timm.layers.norm import LayerNorm as TimmLayerNorm
from timm.layers.patch_embed import PatchEmbed as TimmPatchEmbed
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import Block as TimmBlock
from torch import nn

from vitesse.arch import MLP, Attention, Backbone, Block, Head, LayerNorm, PatchEmbed, Stage
from vitesse.arch.operation import Act
from vitesse.errors import VitesseError

_ACTIVATIONS: dict[type[nn.Module], Act] = {
    GELU: "gelu",
    GELUTanh: "gelu_tanh",
    QuickGELU: "quick_gelu",
    nn.SiLU: "silu",
    nn.ReLU: "relu",
}


def arch_of(model: Any, name: str) -> Backbone:
    """The value of a timm VisionTransformer; VitesseError names the model and the feature that has no value here."""
    reader = _Reader(name)
    blocks = tuple(reader.block(block) for block in model.blocks)
    if not blocks:
        raise reader.refused("no blocks")
    try:
        return Backbone(
            stem=reader.stem(model),
            stages=(Stage(dim=model.embed_dim, depth=len(blocks), block=blocks),),
            head=reader.head(model),
        )
    except ValueError as error:
        raise VitesseError(f"{name} cannot be taken over: {error}") from error


def activation_of(module: Any, name: str) -> Act:
    """Our name of an activation of the model `name`; VitesseError where there is none."""
    if type(module) is nn.GELU:
        return "gelu" if module.approximate == "none" else "gelu_tanh"
    if type(module) not in _ACTIVATIONS:
        raise _Reader(name).refused(f"the activation {type(module).__name__}")
    return _ACTIVATIONS[type(module)]


class _Reader:
    """Reads modules into values for one model, whose name is in every message."""

    def __init__(self, name: str) -> None:
        self.name = name

    def refused(self, feature: str) -> VitesseError:
        return VitesseError(f"{self.name} has {feature}, for which Vitesse has no value. Choose another model.")

    def require(self, module: Any, kind: type[nn.Module], what: str) -> None:
        if type(module) is not kind:
            raise self.refused(f"{what} of the kind {type(module).__name__}")

    def norm(self, module: nn.Module, what: str) -> LayerNorm | None:
        if isinstance(module, nn.Identity):
            return None
        if type(module) not in (nn.LayerNorm, TimmLayerNorm):
            raise self.refused(f"{what} of the kind {type(module).__name__}")
        return LayerNorm(eps=float(module.eps))  # type: ignore[arg-type]

    def stem(self, model: Any) -> PatchEmbed:
        embed = model.patch_embed
        self.require(embed, TimmPatchEmbed, "a patch embedding")
        for feature, found in {
            "a norm in its patch embedding": not isinstance(embed.norm, nn.Identity),
            "images padded to whole patches (dynamic_img_pad)": embed.dynamic_img_pad,
            "registers beside a distillation token": isinstance(model, VisionTransformerDistilled)
            and model.reg_token is not None,
        }.items():
            if found:
                raise self.refused(feature)
        tokens: tuple[str, ...] = ("class",) if model.cls_token is not None else ()
        tokens += ("distillation",) if isinstance(model, VisionTransformerDistilled) else ()
        tokens += ("register",) * (0 if model.reg_token is None else model.reg_token.shape[1])
        position: Literal["all", "patches", "none"] = "patches" if model.no_embed_class else "all"
        return PatchEmbed(
            image=tuple(embed.img_size),
            patch=tuple(embed.patch_size),
            channels=embed.proj.in_channels,
            bias=embed.proj.bias is not None,
            tokens=tokens,
            position="none" if model.pos_embed is None else position,
            norm=self.norm(model.norm_pre, "a norm before the blocks"),
        )

    def head(self, model: Any) -> Head:
        if model.attn_pool is not None:
            raise self.refused(f"attention pooling (global_pool={model.global_pool!r})")
        if model.global_pool not in ("token", "avg"):
            raise self.refused(f"the pooling global_pool={model.global_pool!r}")
        if model.pool_include_prefix and model.global_pool == "avg":
            raise self.refused("a mean over the extra tokens too (pool_include_prefix)")
        norm, after = self.norm(model.norm, "a final norm"), self.norm(model.fc_norm, "a norm after the pooling")
        if norm is not None and after is not None:
            raise self.refused("a norm before and one after the pooling")
        pool: Literal["class", "mean", "distilled"] = "mean" if model.global_pool == "avg" else "class"
        return Head(
            classes=model.num_classes,
            pool="distilled" if isinstance(model, VisionTransformerDistilled) else pool,
            norm=norm or after,
            norm_first=after is None,
        )

    def block(self, block: Any) -> Block:
        self.require(block, TimmBlock, "blocks")
        self.require(block.attn, TimmAttention, "attention")
        self.require(block.mlp, Mlp, "an MLP")
        attention, mlp = block.attn, block.mlp
        scaled = [not isinstance(scale, nn.Identity) for scale in (block.ls1, block.ls2)]
        return Block(self.attention(attention, block.norm1, scaled[0]), self.mlp(mlp, block.norm2, scaled[1]))

    def attention(self, attn: Any, norm: nn.Module, scaled: bool) -> Attention:
        value, inner = self.norm(norm, "a norm"), self.norm(attn.q_norm, "a norm of the queries")
        for feature, found in {
            "a norm inside its attention (scale_attn_norm)": not isinstance(attn.norm, nn.Identity),
            "gated attention": getattr(attn, "gate", None) is not None,
            "an attention projection without a bias (proj_bias=False)": attn.proj.bias is None,
            "a norm of queries and keys unlike that of the block": inner is not None and inner != value,
        }.items():
            if found:
                raise self.refused(feature)
        return Attention(
            heads=attn.num_heads,
            head_dim=attn.head_dim,
            bias=attn.qkv.bias is not None,
            qk_norm=inner is not None,
            layer_scale=scaled,
            norm=value,
        )

    def mlp(self, mlp: Any, norm: nn.Module, scaled: bool) -> MLP:
        act = activation_of(mlp.act, self.name)
        if not isinstance(mlp.norm, nn.Identity):
            raise self.refused("a norm inside its MLP (scale_mlp_norm)")
        self.require(mlp.fc1, nn.Linear, "an MLP layer")
        if mlp.fc2.out_features != mlp.fc1.in_features or (mlp.fc1.bias is None) != (mlp.fc2.bias is None):
            raise self.refused("an MLP with one bias only")
        ratio = mlp.fc1.out_features / mlp.fc1.in_features
        value = self.norm(norm, "a norm")
        return MLP(ratio=ratio, act=act, bias=mlp.fc1.bias is not None, layer_scale=scaled, norm=value)
