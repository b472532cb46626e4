from gigachat import GigaChat

client = GigaChat()
token = client.get_token()
print("token:", bool(token.access_token), token.expires_at > 1_600_000_000_000)

models = client.get_models()
print("models:", "GigaChat-2" in [model.id_ for model in models.data], models.object_)
print("model:", client.get_model("GigaChat-2").id_, client.get_model("GigaChat-2").owned_by)

for entry in client.get_balance().balance[:1]:
    print("balance:", entry.usage, entry.value > 0)
client.close()
