import pytest

AUDIENCE = "https://payments.bank.example"


def pytest_addoption(parser):
    parser.addoption("--payments-url", help="Envoy of the composed platform, for example http://127.0.0.1:8080")


@pytest.fixture
def token(extauthz):
    """Tokens of people, as our issuer would sign them."""

    def sign(name, **claims):
        claims = {"roles": ["clerk"], "tenant": "acme", "scope": "payments.write", **claims}
        return extauthz.token(name, audience=AUDIENCE, **claims)

    return sign


@pytest.fixture(scope="session")
def payments_url(pytestconfig):
    url = pytestconfig.getoption("--payments-url")
    if not url:
        pytest.skip("needs the composed platform: --payments-url")
    return url
