"""Which addresses the guard lets through, in every form in which they can be written."""

import pytest
from llm_gateway.egress import Rules
from llm_gateway_api import ConfigurationError

NOTHING = Rules.of(())


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255",
        "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.100.100.200", "192.0.0.1",
        "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255",
        "240.0.0.1", "255.255.255.255", "168.63.129.16", "192.88.99.1",
        "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1",
        "2001:db8::1", "100::1", "2001::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1",
        "64:ff9b::10.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::",
        "2130706433", "0x7f.1", "017700000001", "127.1", "0177.0.0.1", "", "localhost",
    ],
)  # fmt: skip
def test_private_and_reserved_addresses_are_refused(address: str) -> None:
    assert not NOTHING.allow("a.example", address)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1", "::ffff:8.8.8.8",
     "64:ff9b::8.8.8.8", "2002:808:808::"],
)  # fmt: skip
def test_public_addresses_pass(address: str) -> None:
    assert NOTHING.allow("a.example", address)


@pytest.mark.parametrize(
    ("allowed", "host", "address", "passes"),
    [
        ("10.0.0.0/8", "a.example", "10.1.2.3", True),
        ("10.0.0.0/8", "a.example", "::ffff:10.1.2.3", True),
        ("10.0.0.0/8", "a.example", "64:ff9b::10.1.2.3", True),
        ("10.0.0.0/8", "a.example", "192.168.0.1", False),
        ("10.0.0.7", "a.example", "10.0.0.8", False),
        ("fd00::/8", "a.example", "fd12::1", True),
        ("[::1]", "a.example", "::1", True),
        ("Images.Internal.", "images.internal", "10.1.2.3", True),
        ("images.internal", "IMAGES.internal.", "10.1.2.3", True),
        ("images.internal", "x.images.internal", "10.1.2.3", False),
    ],
)
def test_what_the_operator_lists_passes(
    allowed: str, host: str, address: str, passes: bool
) -> None:
    assert Rules.of([allowed]).allow(host, address) is passes


@pytest.mark.parametrize("entry", ["10.0.0.0/99", "http://host", "host:80", "*.internal", ""])
def test_an_entry_that_means_nothing_is_refused(entry: str) -> None:
    with pytest.raises(ConfigurationError, match=r"allow_private\[0\]"):
        Rules.of([entry])
