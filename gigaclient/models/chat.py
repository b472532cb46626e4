"""Our types under the names of the official SDK's ``gigachat.models.chat``."""

from __future__ import annotations

from gigaclient import types

Chat = types.Chat
ChatCompletion = types.ChatCompletion
ChatCompletionChunk = types.ChatCompletionChunk
ChatFunctionCall = types.NamedFunctionCall
Choices = types.Choice
ChoicesChunk = types.ChunkChoice
FewShotExample = types.FunctionFewShot
Function = types.Function
FunctionCall = types.FunctionCall
FunctionParameters = types.FunctionParameters
FunctionParametersProperty = types.FunctionParametersProperty
FunctionRanker = types.FunctionRanker
Messages = types.Message
MessagesChunk = types.Delta
MessagesRole = types.MessagesRole
Storage = types.Storage
Usage = types.Usage
