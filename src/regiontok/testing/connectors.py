"""What every connector must do, whatever else it does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from regiontok.methods import Connector
from regiontok.testing.assertions import expect, expect_close, run_checks
from regiontok.testing.contracts import check_contract
from regiontok.testing.inputs import WIDTH, batch_of_views, built, devices

OUT = 12  # the width of the language model


def check_connector(connector: Connector) -> None:
    """Check a connector, registered or not, from a width of 8 to one of 12.

    Raises:
        AssertionError: If the connector does something that no connector may do.
    """
    check_contract("connector", connector)
    run_checks(CONNECTOR_CHECKS, connector, connector)


def the_width_of_the_language_model(connector: Connector) -> None:
    """Values `[t width]` become `[t*rows out]`, also if widths are equal, and for no values."""
    for out in (OUT, WIDTH):
        module = built(partial(connector.build, WIDTH, out))
        for values in (_values(), _values()[:0]):
            shape = tuple(module(values).shape)
            expect(
                shape == (len(values) * connector.rows, out),
                f"values {list(values.shape)} become {list(shape)} for a width of {out}",
            )


def every_token_by_itself(connector: Connector) -> None:
    """A token's values do not depend on the other tokens."""
    values, module = _values(), _module(connector)
    together = module(values)
    for index in range(len(values)):
        # In float64 matrix products of other heights may round differently.
        expect_close(
            module(values[index : index + 1]),
            together[index * connector.rows : (index + 1) * connector.rows],
            "alone a token has other values than beside others",
            rtol=1e-12,
            atol=1e-12,
        )


def values_of_every_dtype(connector: Connector) -> None:
    """A module of a dtype takes and gives values of that dtype, near those of float64."""
    exact = _module(connector)(_values())
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        result = _module(connector, dtype)(_values().to(dtype))
        expect(result.dtype == dtype, f"values of {dtype} become {result.dtype}")
        eps = torch.finfo(dtype).eps
        expect_close(
            result.double(), exact, f"{dtype} is not near float64", rtol=16 * eps, atol=16 * eps
        )


def a_second_run(connector: Connector) -> None:
    """The module built again gives the same, and does not change what comes in."""
    values = _values()
    copy = values.clone()
    first, second = (_module(connector)(values) for _ in range(2))
    expect(torch.equal(first, second), "a second run gives other values")
    expect(torch.equal(values, copy), "it changes the values that come in")


def gradients(connector: Connector) -> None:
    """Gradients reach every token and every parameter."""
    values, module = _values().requires_grad_(), _module(connector)
    module(values).square().sum().backward()
    expect(
        values.grad is not None and (values.grad.abs().sum(1) > 0).all(),
        "a token has no gradient",
    )
    for name, parameter in module.named_parameters():
        expect(
            parameter.grad is not None and parameter.grad.any(),
            f"the parameter {name} has no gradient",
        )


def a_saved_module(connector: Connector) -> None:
    """The state of the module is all that it needs."""
    module, other = _module(connector), connector.build(WIDTH, OUT).double().eval()
    other.load_state_dict(module.state_dict())
    expect(
        torch.equal(module(_values()), other(_values())),
        "a module with the same state gives other values",
    )


def every_device(connector: Connector) -> None:
    """Values are those of the CPU, and on the device of the input."""
    expected = _module(connector)(_values())
    for device in devices():
        result = _module(connector).to(device)(_values().to(device))
        expect(result.device.type == device, f"values lie on {result.device}")
        expect_close(result.cpu(), expected, f"{device} is not near the CPU", rtol=1e-7, atol=1e-7)


def _values() -> Tensor:
    return torch.cat(batch_of_views()[0])


def _module(connector: Connector, dtype: torch.dtype = torch.float64) -> nn.Module:
    """The connector's module as it answers, with the same random weights at every call."""
    return built(lambda: connector.build(WIDTH, OUT), dtype).eval()


CONNECTOR_CHECKS: tuple[Callable[[Connector], None], ...] = (
    the_width_of_the_language_model,
    every_token_by_itself,
    values_of_every_dtype,
    a_second_run,
    gradients,
    a_saved_module,
    every_device,
)
