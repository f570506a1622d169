"""Money: accounts, categories, transactions, recurring transactions, budgets and the views that sum them up."""

from django.apps import AppConfig


class TransactionsConfig(AppConfig):
    name = "transactions"
