"""The database: tables, transactions, queries. The only place that imports SQLAlchemy."""
