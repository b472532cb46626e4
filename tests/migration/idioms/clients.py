"""The arguments of the client, the environment, and tokens."""

from __future__ import annotations

import os
import ssl
import warnings

from gigachat import GigaChat
from support.official_sdk import differs, raises


def _answers(giga, prompt="Count from 1 to 2"):
    return giga.chat(prompt).choices[0].message.content


def everything_is_in_the_environment():
    with GigaChat(model="GigaChat-2") as giga:
        return _answers(giga)


def everything_is_an_argument(emulator):
    options = dict(emulator.client_options)
    for name in emulator.environment:
        del os.environ[name]
    with GigaChat(**options, model="GigaChat-2") as giga:
        return _answers(giga)


def arguments_win_over_the_environment():
    os.environ["GIGACHAT_MODEL"] = "GigaChat-99"
    with GigaChat(model="GigaChat-2-Pro") as giga:
        return giga.chat("Hi").model.partition(":")[0]


def an_argument_of_none_leaves_the_environment():
    with GigaChat(model="GigaChat-2", credentials=None, scope=None, base_url=None) as giga:
        return _answers(giga)


def the_model_is_in_the_environment():
    os.environ["GIGACHAT_MODEL"] = "GigaChat-2-Max"
    with GigaChat() as giga:
        return giga.chat("Hi").model.partition(":")[0]


def names_in_the_environment_are_in_lower_case(emulator):
    for name, value in emulator.environment.items():
        del os.environ[name]
        os.environ[name.lower()] = value
    with GigaChat(model="GigaChat-2") as giga:
        return _answers(giga)


def a_scope_is_sent_to_the_token_address(emulator):
    with GigaChat(model="GigaChat-2", scope="GIGACHAT_API_PERS") as giga:
        _answers(giga)
    return [request.form for request in emulator.oauth_requests]


def the_key_is_sent_to_the_token_address(emulator):
    GigaChat().get_token()
    request = emulator.oauth_requests[0]
    return [request.headers["authorization"] == f"Basic {emulator.credentials}", "rquid" in request.headers]


@differs("refused-key", official=raises("BadRequestError"), ours=raises("AuthenticationError"))
def a_key_of_another_scope_is_refused():
    with GigaChat(model="GigaChat-2", scope="GIGACHAT_API_CORP") as giga:
        return _answers(giga)


def the_client_needs_no_with():
    giga = GigaChat(model="GigaChat-2")
    answer = _answers(giga)
    giga.close()
    return answer


def a_client_is_closed_twice():
    giga = GigaChat(model="GigaChat-2")
    _answers(giga)
    giga.close()
    giga.close()
    return "closed"


def a_client_that_was_never_used_is_closed():
    GigaChat().close()
    return "closed"


@differs("wrong-arguments", official=raises("RuntimeError"), ours=raises("ConfigError"))
def a_closed_client_is_refused():
    giga = GigaChat(model="GigaChat-2")
    _answers(giga)
    giga.close()
    return _answers(giga)


def a_client_is_made_without_a_key():
    for name in ("CREDENTIALS", "SCOPE"):
        del os.environ[f"GIGACHAT_{name}"]
    return GigaChat().token


@differs("no-key", official=raises("AuthenticationError"), ours=raises("ConfigError"))
def a_call_without_a_key_is_refused():
    del os.environ["GIGACHAT_CREDENTIALS"]
    with GigaChat(model="GigaChat-2") as giga:
        return _answers(giga)


def an_access_token_is_enough(emulator):
    del os.environ["GIGACHAT_CREDENTIALS"]
    with GigaChat(model="GigaChat-2", access_token=emulator.issue_token()) as giga:
        return _answers(giga)


def an_access_token_is_in_the_environment(emulator):
    del os.environ["GIGACHAT_CREDENTIALS"]
    os.environ["GIGACHAT_ACCESS_TOKEN"] = emulator.issue_token()
    with GigaChat(model="GigaChat-2") as giga:
        return _answers(giga)


def an_access_token_wins_over_the_key(emulator):
    with GigaChat(model="GigaChat-2", access_token=emulator.issue_token()) as giga:
        return [_answers(giga), emulator.oauth_calls]


def a_stale_access_token_is_renewed_by_the_key():
    with GigaChat(model="GigaChat-2", access_token="stale") as giga:
        return _answers(giga)


def a_stale_access_token_without_a_key_is_refused():
    del os.environ["GIGACHAT_CREDENTIALS"]
    with GigaChat(model="GigaChat-2", access_token="stale") as giga:
        return _answers(giga)


def a_name_and_a_password_are_enough(emulator):
    del os.environ["GIGACHAT_CREDENTIALS"]
    emulator.users = {"somebody": "a-password"}
    with GigaChat(model="GigaChat-2", user="somebody", password="a-password") as giga:
        return _answers(giga)


def a_name_and_a_password_are_in_the_environment(emulator):
    del os.environ["GIGACHAT_CREDENTIALS"]
    emulator.users = {"somebody": "a-password"}
    os.environ.update(GIGACHAT_USER="somebody", GIGACHAT_PASSWORD="a-password")
    with GigaChat(model="GigaChat-2") as giga:
        return _answers(giga)


@differs("key-and-user", official=["1, 2", 1, 0], ours=raises("AuthenticationError"))
def the_key_wins_over_a_name_and_a_password(emulator):
    with GigaChat(model="GigaChat-2", user="somebody", password="a-password") as giga:
        return [_answers(giga), emulator.oauth_calls, emulator.password_calls]


def a_token_is_fetched_once(emulator):
    with GigaChat(model="GigaChat-2") as giga:
        _answers(giga)
        _answers(giga)
    return emulator.oauth_calls


@differs("token-ids", official=[True, True, ["x-client-id", "x-request-id", "x-session-id"]], ours=[True, True, None])
def the_token_is_shown():
    with GigaChat() as giga:
        token = giga.get_token()
        ids = token.x_headers and sorted(token.x_headers)
        return [token.access_token == giga.token, token.expires_at > 1_600_000_000_000, ids]


def there_is_no_token_before_the_first_call():
    return GigaChat().token


def an_access_token_is_the_token():
    return GigaChat(access_token="mine").token


def a_token_that_was_passed_does_not_expire():
    with GigaChat(access_token="mine") as giga:
        token = giga.get_token()
        return [token.access_token, token.expires_at]


@differs("no-token", official=None, ours=raises("ConfigError"))
def there_is_no_way_to_get_a_token():
    del os.environ["GIGACHAT_CREDENTIALS"]
    with GigaChat() as giga:
        return giga.get_token()


def a_revoked_token_is_renewed(emulator):
    with GigaChat(model="GigaChat-2") as giga:
        _answers(giga)
        emulator.revoke_tokens()
        return [_answers(giga), emulator.oauth_calls]


def a_token_endpoint_of_the_other_shape_is_understood(emulator):
    emulator.token_shape = "tok"
    with GigaChat(model="GigaChat-2") as giga:
        return _answers(giga)


def a_new_authorization_key_may_be_wrong():
    with GigaChat(model="GigaChat-2", credentials="bm90LWE6a2V5") as giga:
        return _answers(giga)


@differs("refused-key", official=raises("BadRequestError"), ours=raises("AuthenticationError"))
def a_key_that_is_not_base64_is_sent():
    with GigaChat(model="GigaChat-2", credentials="not base64") as giga:
        return _answers(giga)


@differs("odd-key", official=[], ours=["UserWarning"])
def a_key_that_is_not_base64_is_warned_of():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        GigaChat(credentials="not base64")
    return [warning.category.__name__ for warning in caught]


def verification_is_off(emulator):
    del os.environ["GIGACHAT_CA_BUNDLE_FILE"]
    with GigaChat(model="GigaChat-2", verify_ssl_certs=False) as giga:
        return _answers(giga)


def verification_is_off_in_the_environment(emulator):
    del os.environ["GIGACHAT_CA_BUNDLE_FILE"]
    os.environ["GIGACHAT_VERIFY_SSL_CERTS"] = "false"
    with GigaChat(model="GigaChat-2") as giga:
        return _answers(giga)


def verification_is_off_and_a_bundle_is_in_the_environment():
    with GigaChat(model="GigaChat-2", verify_ssl_certs=False) as giga:
        return _answers(giga)


@differs("bundle-unused", official="1, 2", ours=raises("ConfigError"))
def verification_is_off_and_there_is_a_bundle(emulator):
    with GigaChat(model="GigaChat-2", verify_ssl_certs=False, ca_bundle_file=emulator.ca_file) as giga:
        return _answers(giga)


@differs("network", official=raises("ConnectError"), ours=raises("TLSError"))
def a_foreign_certificate_is_refused(emulator):
    del os.environ["GIGACHAT_CA_BUNDLE_FILE"]
    with GigaChat(model="GigaChat-2") as giga:
        return _answers(giga)


def a_context_of_ssl_is_used(emulator):
    bundle = os.environ.pop("GIGACHAT_CA_BUNDLE_FILE")
    with GigaChat(model="GigaChat-2", ssl_context=ssl.create_default_context(cafile=bundle)) as giga:
        return _answers(giga)


@differs("network", official=raises("ConnectError"), ours=raises("APIConnectionError"))
def no_server_listens_at_the_address():
    with GigaChat(model="GigaChat-2", base_url="https://127.0.0.1:1/v1", access_token="mine") as giga:
        return _answers(giga)


@differs("network", official=raises("ConnectError"), ours="caught")
def no_server_listens_at_the_address_and_one_base_class_catches_it():
    from gigachat.exceptions import GigaChatException

    with GigaChat(model="GigaChat-2", base_url="https://127.0.0.1:1/v1", access_token="mine") as giga:
        try:
            return _answers(giga)
        except GigaChatException:
            return "caught"


def the_base_address_may_end_in_a_slash(emulator):
    with GigaChat(model="GigaChat-2", base_url=emulator.base_url + "/") as giga:
        return _answers(giga)


def the_older_base_address_works(emulator):
    with GigaChat(model="GigaChat-2", base_url=emulator.base_url.replace("/v1", "/api/v1")) as giga:
        return _answers(giga)


@differs("network", official=raises("ReadTimeout"), ours=raises("APITimeoutError"))
def a_timeout_ends_a_call(emulator):
    emulator.answer_pause_s = 0.6
    with GigaChat(model="GigaChat-2", timeout=0.2, max_retries=0) as giga:
        return _answers(giga)


def the_timeout_is_in_the_environment(emulator):
    os.environ["GIGACHAT_TIMEOUT"] = "5.5"
    with GigaChat(model="GigaChat-2") as giga:
        return _answers(giga)


@differs("timeout", official=30.0, ours=120.0)
def the_default_timeouts():
    from gigachat.settings import Settings

    return Settings().timeout


@differs("wrong-arguments", official=raises("ValidationError"), ours=raises("ConfigError"))
def a_timeout_that_is_no_number_is_refused():
    GigaChat(timeout="soon")


def profanity_is_checked_by_default_of_the_client():
    with GigaChat(model="GigaChat-2", profanity_check=True) as giga:
        return _answers(giga)


def profanity_is_not_checked_by_the_environment():
    os.environ["GIGACHAT_PROFANITY_CHECK"] = "false"
    with GigaChat(model="GigaChat-2") as giga:
        return _answers(giga)


def a_request_wins_over_the_profanity_check_of_the_client():
    with GigaChat(model="GigaChat-2", profanity_check=True) as giga:
        messages = [{"role": "user", "content": "Count from 1 to 2"}]
        return _answers(giga, {"messages": messages, "profanity_check": False})


def the_client_has_flags():
    with GigaChat(model="GigaChat-2", flags=["a-flag", "another"]) as giga:
        return _answers(giga)


def flags_are_in_the_environment():
    os.environ["GIGACHAT_FLAGS"] = '["a-flag"]'
    with GigaChat(model="GigaChat-2") as giga:
        return _answers(giga)


def the_number_of_connections_is_limited():
    with GigaChat(model="GigaChat-2", max_connections=1) as giga:
        return [_answers(giga), _answers(giga)]


@differs("no-model", official=raises("ModelNotSpecifiedError"), ours="GigaChat-2")
def no_model_is_named():
    with GigaChat() as giga:
        return giga.chat("Hi").model.partition(":")[0]


@differs("no-model", official="1, 2", ours=raises("ModelNotSpecifiedError"))
def an_empty_model_is_refused():
    with GigaChat(model="GigaChat-2") as giga:
        return _answers(giga, {"messages": [{"role": "user", "content": "Count from 1 to 2"}], "model": " "})


@differs("empty", official=None, ours=raises("ConfigError"))
def an_empty_key_is_an_argument():
    return GigaChat(credentials="").token


@differs("empty", official=raises("ValidationError"), ours="1, 2")
def an_empty_variable_is_in_the_environment():
    os.environ["GIGACHAT_TIMEOUT"] = ""
    with GigaChat(model="GigaChat-2") as giga:
        return _answers(giga)


@differs("unknown-arguments", official=None, ours=raises("TypeError"))
def an_unknown_argument_is_ignored():
    return GigaChat(credentails="a-key").token


@differs("earlier-arguments", official=[None, None], ours=raises("TypeError"))
def an_argument_of_earlier_versions_is_ignored():
    return [GigaChat(verbose=True).token, GigaChat(use_auth=True).token]


def the_settings_of_a_client_without_arguments():
    from gigachat.settings import Settings

    read = Settings()
    return [read.scope, read.verify_ssl_certs, read.flags, read.retry_backoff_factor, list(read.retry_on_status_codes)]


@differs("no-model", official=None, ours="GigaChat-2")
def the_model_of_a_client_without_arguments():
    from gigachat.settings import Settings

    return Settings().model


@differs("retries", official=0, ours=2)
def the_retries_of_a_client_without_arguments():
    from gigachat.settings import Settings

    return Settings().max_retries


def settings_are_read_from_the_environment():
    from gigachat.settings import Settings

    os.environ.update(GIGACHAT_TIMEOUT="7", GIGACHAT_MODEL="GigaChat-2-Pro", GIGACHAT_MAX_RETRIES="1")
    read = Settings(scope="GIGACHAT_API_CORP")
    return [read.timeout, read.model, read.max_retries, read.scope]


@differs("expiry-buffer", official=2, ours=1)
def tokens_are_renewed_before_they_expire_by_a_setting(emulator):
    os.environ["GIGACHAT_TOKEN_EXPIRY_BUFFER_MS"] = "3600000"
    with GigaChat(model="GigaChat-2") as giga:
        _answers(giga)
        _answers(giga)
    return emulator.oauth_calls


def the_client_is_subclassed():
    class Mine(GigaChat):
        def ask(self, prompt):
            return self.chat(prompt).choices[0].message.content

    with Mine(model="GigaChat-2") as giga:
        return giga.ask("Count from 1 to 2")


def a_method_is_replaced():
    from unittest import mock

    with GigaChat(model="GigaChat-2") as giga:
        with mock.patch.object(giga, "get_models", return_value="none"):
            found = giga.get_models()
        return [found, len(giga.get_models().data) > 1]


def many_threads_share_a_client(emulator):
    from concurrent.futures import ThreadPoolExecutor

    with GigaChat(model="GigaChat-2") as giga, ThreadPoolExecutor(4) as pool:
        return [list(pool.map(lambda _: _answers(giga), range(8))), emulator.oauth_calls]
