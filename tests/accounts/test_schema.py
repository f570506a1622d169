"""The tables of people, as the catalog has them: other backends rely on each of these lines."""

from __future__ import annotations

import pytest
from django.db import connection

from tests.accounts.catalog import facts, lines

TABLES = {
    "users": """
        user_id uuid not null default gen_random_uuid()
        email character varying(255) not null
        email_verified boolean not null default false
        password_hash character varying(255)
        name character varying(255)
        phone_number character varying(20)
        phone_verified boolean not null default false
        country_code character varying(2) not null default 'IN'
        currency_preference character varying(3) not null default 'INR'
        timezone character varying(50) not null default 'Asia/Kolkata'
        theme_preference character varying(20) not null default 'system'
        language_preference character varying(10) not null default 'en'
        oauth_provider character varying(20)
        oauth_provider_id character varying(255)
        mfa_enabled boolean not null default false
        mfa_secret character varying(255)
        account_status character varying(20) not null default 'active'
        last_login_at timestamp with time zone
        last_login_device_id character varying(255)
        login_attempt_count integer not null default 0
        login_attempt_last_at timestamp with time zone
        created_at timestamp with time zone not null default CURRENT_TIMESTAMP
        updated_at timestamp with time zone not null default CURRENT_TIMESTAMP
        deleted_at timestamp with time zone
        is_staff boolean not null default false
        is_superuser boolean not null default false
        users_pkey PRIMARY KEY (user_id)
        users_email_unique unique (lower((email)::text))
        users_phone_number_unique UNIQUE (phone_number)
        users_oauth_provider_oauth_provider_id_unique UNIQUE (oauth_provider, oauth_provider_id)
        users_account_status_check CHECK
        users_currency_preference_check CHECK
        users_email_check CHECK
        users_password_hash_check CHECK
        users_phone_number_check CHECK
        users_theme_preference_check CHECK
        idx_users_created_at (created_at)
        idx_users_email (email)
        idx_users_phone (phone_number)
        idx_users_status (account_status)
        idx_users_email_begins (lower((email)::text) COLLATE "C")
        idx_users_name_begins (lower((name)::text) COLLATE "C")
        idx_users_staff (created_at) WHERE is_staff
        users_set_updated_at BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION set_updated_at()
    """,
    "devices": """
        device_id uuid not null default gen_random_uuid()
        user_id uuid not null
        device_name character varying(255)
        device_type character varying(20)
        device_fingerprint character varying(255)
        is_active boolean not null default true
        last_used_at timestamp with time zone
        created_at timestamp with time zone not null default CURRENT_TIMESTAMP
        devices_pkey PRIMARY KEY (device_id)
        devices_user_id_foreign FOREIGN KEY (user_id) REFERENCES users(user_id) ON DELETE CASCADE
        devices_device_fingerprint_unique UNIQUE (device_fingerprint)
        idx_devices_user_id (user_id)
        idx_devices_fingerprint (device_fingerprint)
        idx_devices_created_at (created_at)
    """,
    "phone_otps": """
        otp_id uuid not null default gen_random_uuid()
        phone_number character varying(20) not null
        code_hash character varying(255) not null
        purpose character varying(20) not null default 'signup'
        expires_at timestamp with time zone not null
        attempt_count integer not null default 0
        created_at timestamp with time zone not null default CURRENT_TIMESTAMP
        phone_otps_pkey PRIMARY KEY (otp_id)
        phone_otps_phone_number_check CHECK
        idx_phone_otps_phone_number (phone_number)
        idx_phone_otps_expires_at (expires_at)
    """,
    "revoked_tokens": """
        token_id uuid not null
        user_id uuid not null
        token_type character varying(20) not null default 'refresh'
        expires_at timestamp with time zone not null
        created_at timestamp with time zone not null default CURRENT_TIMESTAMP
        revoked_tokens_pkey PRIMARY KEY (token_id)
        revoked_tokens_user_id_foreign FOREIGN KEY (user_id) REFERENCES users(user_id) ON DELETE CASCADE
        revoked_tokens_type_check CHECK
        idx_revoked_tokens_user_id (user_id)
        idx_revoked_tokens_expires_at (expires_at)
    """,
}


@pytest.mark.django_db
@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_exactly_what_other_backends_rely_on(table: str) -> None:
    with connection.cursor() as cursor:
        assert facts(cursor, table) == lines(TABLES[table])
