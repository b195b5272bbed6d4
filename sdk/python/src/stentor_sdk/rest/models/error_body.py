from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.error_body_details_type_0 import ErrorBodyDetailsType0


T = TypeVar("T", bound="ErrorBody")


@_attrs_define
class ErrorBody:
    """Body of every error response.

    Attributes:
        success (bool): Always false.
        error (str): Human-readable text; may change.
        code (str): Stable error codes. New codes may be added; none changes its meaning. `invalid_json`,
            `invalid_body`, `invalid_query`, `invalid_room_id`, `invalid_pin`, `invalid_max_anchors`, `invalid_room_field`,
            `immutable_field`, `invalid_name`, `invalid_user_id`, `invalid_source`, `source_not_permitted`,
            `source_not_found`, `invalid_module_id`, `invalid_ttl`, `websocket_expected`, `websocket_version`,
            `request_timeout`, `unauthorized`, `scope_missing`, `quota_exceeded`, `token_quota_exceeded`,
            `api_key_not_found`, `too_many_api_keys`, `token_missing`, `token_invalid`, `token_expired`, `token_wrong_room`,
            `token_wrong_audience`, `key_refused`, `origin_not_allowed`, `host_not_allowed`, `proxy_not_allowed`,
            `pages_closed`, `invalid_recording_id`, `consent_required`, `recording_not_found`, `track_not_found`,
            `invalid_output`, `output_not_found`, `too_many_outputs`, `outputs_off`, `recogniser_connected`,
            `recording_not_ready`, `recording_active`, `recording_off`, `webhook_not_found`, `dead_letter_not_found`,
            `not_delivered`, `not_found`, `room_not_found`, `key_out_of_window`, `room_not_on_air`, `room_on_air`,
            `key_not_found`, `too_far_ahead`, `media_gone`, `rewind_off`, `module_not_found`, `actor_not_found`,
            `actor_not_restarted`, `method_not_allowed`, `room_exists`, `room_removing`, `user_removed`, `too_many_users`,
            `person_not_found`, `body_too_large`, `range_not_satisfiable`, `unsupported_media_type`, `invalid_config`,
            `internal`, `reload_unavailable`, `busy`, `invalid_text`, `invalid_person_id`, `name_required`, `host_only`,
            `hand_not_raised`, `message_not_found`, `on_stage`, `hands_closed`, `hands_full`, `not_invited`, `room_locked`,
            `room_full`, `already_connected`, `not_admitted`, `admission_unavailable`, `offer_refused`, `session_not_found`,
            `ice_restart_refused`, `chat_closed`, `slow_mode`, `listeners_full`, `channel_unavailable`,
            `gateway_unavailable`, `no_capacity`, `no_janus_available`, `no_mixer_available`, `media_not_ready`,
            `media_timeout`, `too_many_clients`, `too_many_requests`, `media_unavailable`, `store_unavailable`
        request_id (str): Id of the request, also in the header `X-Request-Id`.
        details (ErrorBodyDetailsType0 | None | Unset):
    """

    success: bool
    error: str
    code: str
    request_id: str
    details: ErrorBodyDetailsType0 | None | Unset = UNSET
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.error_body_details_type_0 import ErrorBodyDetailsType0

        success = self.success

        error = self.error

        code = self.code

        request_id = self.request_id

        details: dict[str, Any] | None | Unset
        if isinstance(self.details, Unset):
            details = UNSET
        elif isinstance(self.details, ErrorBodyDetailsType0):
            details = self.details.to_dict()
        else:
            details = self.details

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "success": success,
                "error": error,
                "code": code,
                "requestId": request_id,
            }
        )
        if details is not UNSET:
            field_dict["details"] = details

        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        from ..models.error_body_details_type_0 import ErrorBodyDetailsType0

        d = dict(src_dict)
        success = d.pop("success")

        error = d.pop("error")

        code = d.pop("code")

        request_id = d.pop("requestId")

        def _parse_details(data: object) -> ErrorBodyDetailsType0 | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                details_type_0 = ErrorBodyDetailsType0.from_dict(data)

                return details_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(ErrorBodyDetailsType0 | None | Unset, data)

        details = _parse_details(d.pop("details", UNSET))

        error_body = cls(
            success=success,
            error=error,
            code=code,
            request_id=request_id,
            details=details,
        )

        error_body.additional_properties = d
        return error_body

    @property
    def additional_keys(self) -> list[str]:
        return list(self.additional_properties.keys())

    def __getitem__(self, key: str) -> Any:
        return self.additional_properties[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.additional_properties[key] = value

    def __delitem__(self, key: str) -> None:
        del self.additional_properties[key]

    def __contains__(self, key: str) -> bool:
        return key in self.additional_properties
