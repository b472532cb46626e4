from gigachat import GigaChat

with GigaChat() as giga:
    result = giga.embeddings(["Hello, world!", "The lake is calm"], model="Embeddings")
    for item in result.data:
        print("vector:", item.index, len(item.embedding), item.usage.prompt_tokens > 0, item.object_)
    print("model:", result.model, result.object_)

    for count in giga.tokens_count(input_=["Hello, world!", "How are you?"], model="GigaChat-2"):
        print("tokens:", count.tokens > 0, count.characters, count.object_)
