def test_one(gateway, origin):
    from fakes.raw_client import account
    r = gateway.get("/hello")
    print(r.raw, account(r), gateway.addresses)
    r = gateway.get("/local/x")
    assert account(r)["origin"] == "local"
